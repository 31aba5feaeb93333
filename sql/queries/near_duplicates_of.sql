-- A document's near-duplicates in a mixture: the one for which it is left out, or those that are left out for it; the first 200.
-- Parameters: mixture, shard, row, version=
WITH document AS (
    SELECT mixture_id, shard_id
    FROM mixture JOIN mixture_snapshot USING (mixture_id) JOIN shard USING (snapshot_id)
    WHERE mixture_id = mixture_of(:'mixture', :'version') AND path = :'shard' AND superseded_at IS NULL
), near AS (
    SELECT true AS is_kept, kept_shard_id AS shard_id, kept_row AS row, similarity
    FROM document JOIN mixture_near_duplicate USING (mixture_id, shard_id)
    WHERE row = :'row'::bigint
    UNION ALL
    SELECT false, gone.shard_id, gone.row, similarity
    FROM document JOIN mixture_near_duplicate AS gone USING (mixture_id)
    WHERE kept_shard_id = document.shard_id AND kept_row = :'row'::bigint
)
SELECT snapshot.name AS snapshot, path AS shard, near.row, domain.name AS domain, n_tokens, similarity, is_kept
FROM near
JOIN shard USING (shard_id)
JOIN snapshot USING (snapshot_id)
LEFT JOIN LATERAL (
    SELECT domain_id, n_tokens FROM sample
    WHERE sample.snapshot_id = snapshot.snapshot_id AND sample.shard_id = near.shard_id AND sample.row = near.row
) AS document ON true
LEFT JOIN domain USING (domain_id)
ORDER BY similarity DESC, snapshot, shard, near.row
LIMIT 200;
