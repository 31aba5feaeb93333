-- The 50 samples whose tokens changed most between two versions of a mixture, with their copies in both (0: not in it).
-- Reads the samples of both versions.
-- Parameters: mixture, older, newer=
SELECT snapshot.name AS snapshot, path AS shard, moved.row, domain.name AS domain, moved.n_tokens, moved.copies_before, moved.copies,
       moved.n_tokens::bigint * (moved.copies - moved.copies_before) AS tokens_gained, quality, diversity, cluster
FROM (
    SELECT snapshot_id, shard_id, row,
           coalesce(new.n_tokens, old.n_tokens) AS n_tokens,
           coalesce(old.copies, 0) AS copies_before,
           coalesce(new.copies, 0) AS copies
    FROM (
        SELECT snapshot_id, shard_id, row, n_tokens, copies
        FROM mixture_sample WHERE mixture_id = (SELECT mixture_of(:'mixture', :'older'))
    ) AS old
    FULL JOIN (
        SELECT snapshot_id, shard_id, row, n_tokens, copies
        FROM mixture_sample WHERE mixture_id = (SELECT mixture_of(:'mixture', :'newer'))
    ) AS new USING (snapshot_id, shard_id, row)
    WHERE old.copies IS DISTINCT FROM new.copies
    ORDER BY abs(coalesce(new.n_tokens, old.n_tokens)::bigint * (coalesce(new.copies, 0) - coalesce(old.copies, 0))) DESC,
             snapshot_id, shard_id, row
    LIMIT 50
) AS moved
JOIN snapshot USING (snapshot_id)
JOIN shard USING (shard_id)
CROSS JOIN LATERAL (
    SELECT domain_id, quality, diversity, cluster FROM mixture_sample
    WHERE mixture_id IN (mixture_of(:'mixture', :'older'), mixture_of(:'mixture', :'newer'))
        AND mixture_sample.snapshot_id = moved.snapshot_id AND mixture_sample.shard_id = moved.shard_id
        AND mixture_sample.row = moved.row
    ORDER BY mixture_id DESC LIMIT 1
) AS published
LEFT JOIN domain USING (domain_id)
ORDER BY abs(moved.n_tokens::bigint * (moved.copies - moved.copies_before)) DESC, snapshot, shard, row;
