-- Domains that gained or lost tokens in a mixture, and why: their quality and diversity before and after.
-- Means weigh each document alike. Before: all documents to choose from. After: the mixture, copies counted.
-- Parameters: mixture, version=
SELECT mixture_domain.domain,
       source_share,
       mixture_share,
       mixture_share / nullif(source_share, 0) AS gain,
       quality_before,
       quality_after,
       diversity_before,
       diversity_after,
       mean_copies
FROM mixture_domain
LEFT JOIN (
    SELECT name AS domain,
           sum(quality_sum) / sum(documents) / 10000 AS quality_before,
           sum(mixture_quality_sum) / nullif(sum(copies), 0) / 10000 AS quality_after,
           sum(diversity::float8 * documents) / sum(documents)::float8 AS diversity_before,
           sum(coalesce(mixture_diversity, diversity)::float8 * copies) / nullif(sum(copies), 0)::float8 AS diversity_after
    FROM mixture_rollup
    JOIN domain USING (domain_id)
    WHERE mixture_id = mixture_of(:'mixture', :'version')
    GROUP BY name
) AS means USING (domain)
WHERE mixture_id = mixture_of(:'mixture', :'version')
ORDER BY gain DESC NULLS LAST, domain;
