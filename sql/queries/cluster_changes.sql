-- Changes in each cluster between two versions of a mixture, from two roll-ups: the 50 whose tokens moved most.
-- Cluster numbers are compared only if both versions have the same cluster model.
-- Parameters: mixture, older, newer=
WITH old AS (
    SELECT cluster_model_id, cluster, sum(mixture_tokens) AS tokens, sum(mixture_rollup.copies) AS copies
    FROM mixture JOIN mixture_rollup USING (mixture_id) WHERE mixture_id = mixture_of(:'mixture', :'older') GROUP BY 1, 2
), new AS (
    SELECT cluster_model_id, cluster, sum(mixture_tokens) AS tokens, sum(mixture_rollup.copies) AS copies
    FROM mixture JOIN mixture_rollup USING (mixture_id) WHERE mixture_id = mixture_of(:'mixture', :'newer') GROUP BY 1, 2
)
SELECT cluster, diversity, coalesce(old.tokens, 0)::bigint AS tokens_before, coalesce(new.tokens, 0)::bigint AS tokens,
       (coalesce(new.tokens, 0) - coalesce(old.tokens, 0))::bigint AS tokens_gained,
       (coalesce(new.copies, 0) - coalesce(old.copies, 0))::bigint AS copies_gained
FROM old
FULL JOIN new USING (cluster_model_id, cluster)
LEFT JOIN cluster USING (cluster_model_id, cluster)
WHERE (SELECT count(DISTINCT cluster_model_id) FROM mixture
       WHERE mixture_id IN (mixture_of(:'mixture', :'older'), mixture_of(:'mixture', :'newer'))) = 1
ORDER BY abs(coalesce(new.tokens, 0) - coalesce(old.tokens, 0)) DESC, cluster
LIMIT 50;
