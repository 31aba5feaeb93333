-- Changes in each quality band between two versions of a mixture, from two roll-ups.
-- Parameters: mixture, older, newer=
WITH old AS (
    SELECT quality_band, sum(mixture_tokens) AS tokens
    FROM mixture_rollup WHERE mixture_id = mixture_of(:'mixture', :'older') GROUP BY 1
), new AS (
    SELECT quality_band, sum(mixture_tokens) AS tokens
    FROM mixture_rollup WHERE mixture_id = mixture_of(:'mixture', :'newer') GROUP BY 1
)
SELECT (SELECT q_low + (q_high - q_low) / 40 * quality_band FROM mixture JOIN quality_model USING (quality_model_id)
        WHERE mixture_id = mixture_of(:'mixture', :'newer')) AS quality_from,
       coalesce(old.tokens, 0)::bigint AS tokens_before, coalesce(new.tokens, 0)::bigint AS tokens,
       (coalesce(new.tokens, 0) - coalesce(old.tokens, 0))::bigint AS tokens_gained
FROM old
FULL JOIN new USING (quality_band)
ORDER BY quality_band;
