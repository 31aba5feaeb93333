-- Clusters that gained or lost tokens in a mixture: the 50 whose share moved most, with their measures and main domain.
-- Parameters: mixture, version=
WITH cell AS (
    SELECT * FROM mixture_rollup WHERE mixture_id = mixture_of(:'mixture', :'version')
), total AS (
    SELECT sum(tokens) AS tokens, nullif(sum(mixture_tokens), 0) AS mixture_tokens FROM cell
), main AS (
    SELECT DISTINCT ON (cluster) cluster, name AS domain, sum(documents) AS documents
    FROM cell JOIN domain USING (domain_id)
    GROUP BY cluster, name
    ORDER BY cluster, documents DESC, name
), summed AS (
    SELECT cluster, sum(diversity::float8 * documents) / sum(documents)::float8 AS diversity, sum(documents) AS documents, sum(tokens) AS tokens, sum(copies) AS copies,
           sum(mixture_tokens) AS mixture_tokens, sum(quality_sum) AS quality_sum, sum(distance_sum) AS distance_sum
    FROM cell GROUP BY cluster
)
SELECT cluster,
       diversity,
       quality_sum / summed.documents / 10000 AS quality,
       distance_sum / summed.documents / 10000 AS distance,
       summed.documents::bigint AS documents,
       summed.tokens / total.tokens AS source_share,
       summed.mixture_tokens / total.mixture_tokens AS mixture_share,
       copies / summed.documents AS mean_copies,
       main.domain AS main_domain,
       main.documents / summed.documents AS share_of_main_domain
FROM summed
JOIN main USING (cluster)
CROSS JOIN total
ORDER BY abs(summed.mixture_tokens / total.mixture_tokens - summed.tokens / total.tokens) DESC NULLS LAST, cluster
LIMIT 50;
