-- Samples and tokens of a mixture by number of copies; 0: not taken.
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
