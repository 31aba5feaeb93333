-- What changed between two versions of a mixture: by domain, samples that came and went, and samples with other copies.
-- Parameters: mixture (name), older (version), newer (version)
WITH older AS (
    SELECT snapshot_id, shard_id, row, copies
    FROM mixture_sample
    WHERE mixture_id = (SELECT mixture_id FROM mixture WHERE name = :'mixture' AND version = :'older'::int)
), newer AS (
    SELECT snapshot_id, shard_id, row, copies
    FROM mixture_sample
    WHERE mixture_id = (SELECT mixture_id FROM mixture WHERE name = :'mixture' AND version = :'newer'::int)
)
SELECT domain.name AS domain,
       count(*) FILTER (WHERE older.row IS NULL) AS samples_added,
       count(*) FILTER (WHERE newer.row IS NULL) AS samples_dropped,
       count(*) FILTER (WHERE older.copies <> newer.copies) AS samples_with_other_copies,
       count(*) FILTER (WHERE older.copies = newer.copies) AS samples_unchanged,
       sum(n_tokens::bigint * (coalesce(newer.copies, 0) - coalesce(older.copies, 0)))::bigint AS tokens_gained
FROM older
FULL JOIN newer USING (snapshot_id, shard_id, row)
JOIN sample USING (snapshot_id, shard_id, row)
JOIN domain USING (domain_id)
GROUP BY domain.name
ORDER BY tokens_gained DESC, domain.name;
