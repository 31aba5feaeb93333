-- The 50 samples that a mixture repeats most, with the quality and diversity that earned it.
-- Parameters: mixture, version=
SELECT snapshot.name AS snapshot, path AS shard, held.row, doc_id, domain.name AS domain, held.n_tokens, copies, weight, quality,
       diversity, cluster
FROM (
    SELECT * FROM mixture_sample WHERE mixture_id = (SELECT mixture_of(:'mixture', :'version'))
    ORDER BY copies DESC, weight DESC, snapshot_id DESC, shard_id DESC, row DESC
    LIMIT 50
) AS held
JOIN snapshot USING (snapshot_id)
JOIN shard USING (shard_id)
LEFT JOIN domain USING (domain_id)
LEFT JOIN LATERAL (
    SELECT doc_id FROM sample
    WHERE sample.snapshot_id = held.snapshot_id AND sample.shard_id = held.shard_id AND sample.row = held.row
) AS document ON true
ORDER BY copies DESC, weight DESC, snapshot, shard, row;
