-- Documents of a mixture's crawls that hold something of a benchmark it keeps out: what, and by how much it overlaps; the first 500.
-- Parameters: mixture, version=
SELECT benchmark.name AS benchmark, snapshot.name AS snapshot, path AS shard, sample.row, domain.name AS domain, n_tokens, item, field,
       overlap, found
FROM mixture_benchmark
JOIN mixture_snapshot USING (mixture_id)
JOIN benchmark USING (benchmark_id)
JOIN contamination USING (benchmark_id)
JOIN sample USING (snapshot_id, content_hash)
JOIN snapshot USING (snapshot_id)
JOIN shard USING (snapshot_id, shard_id)
JOIN domain USING (domain_id)
WHERE mixture_id = mixture_of(:'mixture', :'version') AND superseded_at IS NULL
ORDER BY overlap DESC, benchmark, snapshot, shard, sample.row
LIMIT 500;
