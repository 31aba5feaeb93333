-- Which domains gained tokens in a mixture, and why: their quality and diversity before and after.
-- Means weigh each token alike. Before: all scored documents of the mixture's snapshots. After: the mixture, copies counted.
-- Parameters: mixture (name), version
WITH chosen AS (
    SELECT * FROM mixture WHERE name = :'mixture' AND version = :'version'::int
), before AS (
    SELECT domain.name AS domain,
           sum(quality::float8 * n_tokens) / nullif(sum(n_tokens), 0) AS quality,
           sum(diversity * n_tokens) / nullif(sum(n_tokens), 0) AS diversity
    FROM chosen
    JOIN mixture_snapshot USING (mixture_id)
    JOIN sample USING (snapshot_id)
    JOIN domain USING (domain_id)
    JOIN quality_score USING (snapshot_id, shard_id, row, quality_model_id)
    JOIN diversity_score USING (snapshot_id, shard_id, row, cluster_model_id)
    JOIN cluster USING (cluster_model_id, cluster)
    GROUP BY domain.name
), after AS (
    SELECT domain,
           sum(quality::float8 * n_tokens * copies) / nullif(sum(n_tokens::bigint * copies), 0) AS quality,
           sum(diversity * n_tokens * copies) / nullif(sum(n_tokens::bigint * copies), 0) AS diversity
    FROM mixture_samples
    WHERE mixture = :'mixture' AND version = :'version'::int
    GROUP BY domain
)
SELECT domain,
       source_share,
       mixture_share,
       mixture_share / nullif(source_share, 0) AS gain,
       before.quality AS quality_before,
       after.quality AS quality_after,
       before.diversity AS diversity_before,
       after.diversity AS diversity_after,
       mean_copies
FROM mixture_domain
JOIN chosen USING (mixture_id)
LEFT JOIN before USING (domain)
LEFT JOIN after USING (domain)
ORDER BY gain DESC NULLS LAST, domain;
