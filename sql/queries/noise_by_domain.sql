-- Noise in each domain: the share of documents outside all clusters, their distance from the centroids, and the number of clusters.
-- Parameters: corpus
SELECT domain, sum(documents)::bigint AS documents, sum(noise) / sum(documents) AS noise_share,
       sum(distance_sum) / sum(documents)::float8 AS distance,
       sum(diversity_sum) / sum(documents)::float8 AS diversity,
       count(DISTINCT cluster) AS clusters
FROM cluster_rollups
WHERE corpus_id = corpus_of(:'corpus') AND is_current
GROUP BY domain
ORDER BY noise_share DESC, domain;
