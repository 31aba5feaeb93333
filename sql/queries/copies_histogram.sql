-- How many samples a mixture takes how often, and how much of its tokens that is; 0 copies are passed over.
-- Parameters: mixture, version=
SELECT copies,
       sum(samples)::bigint AS samples,
       sum(tokens)::bigint AS tokens,
       (sum(tokens) * copies)::bigint AS mixture_tokens,
       sum(tokens) * copies / nullif(sum(sum(tokens) * copies) OVER (), 0) AS mixture_share
FROM mixture_copy_count
WHERE mixture_id = mixture_of(:'mixture', :'version')
GROUP BY copies
ORDER BY copies;
