-- Each cluster of a mixture: words, place on the map, documents, quality, diversity, copies, main domain.
-- Parameters: mixture, version=
WITH cell AS (
    SELECT * FROM mixture_rollup WHERE mixture_id = mixture_of(:'mixture', :'version')
), main AS (
    SELECT DISTINCT ON (cluster) cluster, name AS domain, sum(documents) AS documents
    FROM cell JOIN domain USING (domain_id)
    GROUP BY cluster, name
    ORDER BY cluster, documents DESC, name
), summed AS (
    SELECT cluster, sum(documents) AS documents, sum(tokens) AS tokens, sum(quality_sum) AS quality_sum, sum(diversity::float8 * documents) / sum(documents)::float8 AS diversity,
           sum(distance_sum) AS distance_sum, sum(samples) AS samples, sum(copies) AS copies, sum(mixture_tokens) AS mixture_tokens
    FROM cell GROUP BY cluster
)
SELECT summed.cluster,
       cluster.name,
       terms,
       summed.documents::bigint AS documents,
       summed.tokens::bigint AS tokens,
       quality_sum / summed.documents / 10000 AS quality,
       summed.diversity,
       compactness,
       separation,
       coherence,
       summed.samples::bigint AS samples,
       summed.copies / summed.documents AS mean_copies,
       summed.mixture_tokens::bigint AS mixture_tokens,
       main.domain AS main_domain,
       main.documents / summed.documents AS share_of_main_domain,
       x,
       y
FROM summed
JOIN main USING (cluster)
JOIN mixture ON mixture_id = mixture_of(:'mixture', :'version')
LEFT JOIN cluster ON cluster.cluster_model_id = mixture.cluster_model_id AND cluster.cluster = summed.cluster
ORDER BY summed.documents DESC, summed.cluster
LIMIT 5000;
