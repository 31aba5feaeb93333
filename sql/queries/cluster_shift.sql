-- Which clusters gained tokens in a mixture: the 50 whose share moved most, with what they are like and where they come from.
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
)
SELECT cluster,
       min(diversity) AS diversity,
       sum(quality_sum) / sum(cell.documents) / 10000 AS quality,
       sum(distance_sum) / sum(cell.documents) / 10000 AS distance,
       sum(cell.documents)::bigint AS documents,
       sum(cell.tokens) / min(total.tokens) AS source_share,
       sum(cell.mixture_tokens) / min(total.mixture_tokens) AS mixture_share,
       sum(copies) / sum(cell.documents) AS mean_copies,
       min(main.domain) AS main_domain,
       min(main.documents) / sum(cell.documents) AS share_of_main_domain
FROM cell
JOIN main USING (cluster)
CROSS JOIN total
GROUP BY cluster
ORDER BY abs(sum(cell.mixture_tokens) / min(total.mixture_tokens) - sum(cell.tokens) / min(total.tokens)) DESC NULLS LAST, cluster
LIMIT 50;
