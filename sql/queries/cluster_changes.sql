-- Changes in each cluster between two versions of a mixture, from two roll-ups: the 50 whose tokens moved most.
-- Clusters are compared by name, which a refit keeps. Nothing is said of versions whose cluster models share no name.
-- Parameters: mixture, older, newer=
WITH held AS (
    SELECT mixture_id, coalesce(cluster.name, cluster_model_id || '.' || cluster) AS name, cluster.diversity,
           sum(mixture_tokens) AS tokens, sum(mixture_rollup.copies) AS copies
    FROM mixture JOIN mixture_rollup USING (mixture_id)
    LEFT JOIN cluster USING (cluster_model_id, cluster)
    WHERE mixture_id IN (mixture_of(:'mixture', :'older'), mixture_of(:'mixture', :'newer'))
    GROUP BY 1, 2, 3
), old AS (
    SELECT * FROM held WHERE mixture_id = mixture_of(:'mixture', :'older')
), new AS (
    SELECT * FROM held WHERE mixture_id = mixture_of(:'mixture', :'newer')
)
SELECT name AS cluster, coalesce(new.diversity, old.diversity) AS diversity,
       coalesce(old.tokens, 0)::bigint AS tokens_before, coalesce(new.tokens, 0)::bigint AS tokens,
       (coalesce(new.tokens, 0) - coalesce(old.tokens, 0))::bigint AS tokens_gained,
       (coalesce(new.copies, 0) - coalesce(old.copies, 0))::bigint AS copies_gained
FROM old
FULL JOIN new USING (name)
WHERE EXISTS (SELECT FROM old JOIN new USING (name))
ORDER BY abs(coalesce(new.tokens, 0) - coalesce(old.tokens, 0)) DESC, name COLLATE "C"
LIMIT 50;
