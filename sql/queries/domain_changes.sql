-- Changes in each domain between two versions of a mixture, from two roll-ups: share and number of tokens, distinct samples, copies.
-- Parameters: mixture, older, newer=
WITH old AS (
    SELECT domain_id, sum(mixture_tokens) AS tokens, sum(samples) AS samples, sum(copies) AS copies
    FROM mixture_rollup WHERE mixture_id = mixture_of(:'mixture', :'older') GROUP BY domain_id
), new AS (
    SELECT domain_id, sum(mixture_tokens) AS tokens, sum(samples) AS samples, sum(copies) AS copies
    FROM mixture_rollup WHERE mixture_id = mixture_of(:'mixture', :'newer') GROUP BY domain_id
)
SELECT domain.name AS domain,
       coalesce(old.tokens / (SELECT nullif(sum(tokens), 0) FROM old), 0) AS old_share,
       coalesce(new.tokens / (SELECT nullif(sum(tokens), 0) FROM new), 0) AS new_share,
       coalesce(old.tokens, 0)::bigint AS tokens_before,
       coalesce(new.tokens, 0)::bigint AS tokens,
       (coalesce(new.tokens, 0) - coalesce(old.tokens, 0))::bigint AS tokens_gained,
       (coalesce(new.samples, 0) - coalesce(old.samples, 0))::bigint AS samples_gained,
       (coalesce(new.copies, 0) - coalesce(old.copies, 0))::bigint AS copies_gained
FROM old
FULL JOIN new USING (domain_id)
JOIN domain USING (domain_id)
ORDER BY coalesce(new.tokens / (SELECT nullif(sum(tokens), 0) FROM new), 0)
    - coalesce(old.tokens / (SELECT nullif(sum(tokens), 0) FROM old), 0) DESC, domain;
