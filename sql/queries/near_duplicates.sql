-- The 200 documents for which a mixture left out most near-duplicates: how many, how alike the least of them is, and an example.
-- Parameters: mixture, version=
SELECT snapshot.name AS snapshot, shard.path AS shard, kept.row, domain.name AS domain, n_tokens, documents, least_similarity,
       other.path AS example_shard, example_row
FROM (
    SELECT kept_shard_id, kept_row AS row, count(*) AS documents, min(similarity) AS least_similarity,
           (min(ARRAY[shard_id, row]))[1]::int AS example_shard_id, (min(ARRAY[shard_id, row]))[2] AS example_row
    FROM mixture_near_duplicate
    WHERE mixture_id = (SELECT mixture_of(:'mixture', :'version'))
    GROUP BY kept_shard_id, kept_row
    ORDER BY documents DESC, kept_shard_id, kept_row
    LIMIT 200
) AS kept
JOIN shard ON shard.shard_id = kept_shard_id
JOIN snapshot USING (snapshot_id)
JOIN shard AS other ON other.shard_id = example_shard_id
LEFT JOIN LATERAL (
    SELECT domain_id, n_tokens FROM sample
    WHERE sample.snapshot_id = snapshot.snapshot_id AND sample.shard_id = kept_shard_id AND sample.row = kept.row
) AS document ON true
LEFT JOIN domain USING (domain_id)
ORDER BY documents DESC, snapshot, shard, kept.row;
