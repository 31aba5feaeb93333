-- The 50 samples of least weight in a mixture: with a little less weight, or luck, they would not be in it.
-- Parameters: mixture, version=
SELECT snapshot.name AS snapshot, path AS shard, held.row, doc_id, domain.name AS domain, held.n_tokens, copies, weight, quality,
       diversity, cluster
FROM (
    SELECT * FROM mixture_sample WHERE mixture_id = (SELECT mixture_of(:'mixture', :'version'))
    ORDER BY weight, snapshot_id, shard_id, row
    LIMIT 50
) AS held
JOIN snapshot USING (snapshot_id)
JOIN shard USING (shard_id)
LEFT JOIN domain USING (domain_id)
LEFT JOIN LATERAL (
    SELECT doc_id FROM sample
    WHERE sample.snapshot_id = held.snapshot_id AND sample.shard_id = held.shard_id AND sample.row = held.row
) AS document ON true
ORDER BY weight, snapshot, shard, row;
