-- From corpus to mixture, domain by domain: documents scored, left out, exact duplicates, not taken, taken, epochs.
-- Parameters: mixture, version=
WITH chosen AS (
    SELECT * FROM mixture WHERE mixture_id = mixture_of(:'mixture', :'version')
), scored AS (
    SELECT domain_id, sum(score_rollup.documents) AS documents
    FROM chosen JOIN mixture_snapshot USING (mixture_id) JOIN score_rollup USING (snapshot_id, quality_model_id)
    GROUP BY domain_id
), taken AS (
    SELECT domain_id, sum(mixture_rollup.documents) AS eligible, sum(mixture_rollup.samples) AS samples, sum(tokens) AS tokens,
           sum(mixture_rollup.copies) AS copies, sum(mixture_tokens) AS mixture_tokens
    FROM chosen JOIN mixture_rollup USING (mixture_id)
    GROUP BY domain_id
), excluded AS (
    SELECT domain_id, sum(mixture_left_out.documents) AS left_out
    FROM chosen JOIN mixture_left_out USING (mixture_id)
    GROUP BY domain_id
)
SELECT domain.name AS domain,
       documents::bigint AS scored,
       coalesce(left_out, 0)::bigint AS left_out,
       (documents - coalesce(left_out, 0) - coalesce(eligible, 0))::bigint AS duplicates,
       (coalesce(eligible, 0) - coalesce(samples, 0))::bigint AS passed_over,
       coalesce(samples, 0)::bigint AS samples,
       coalesce(copies, 0)::bigint AS copies,
       coalesce(mixture_tokens, 0)::bigint AS mixture_tokens,
       mixture_tokens / nullif(tokens, 0) AS epochs
FROM scored
LEFT JOIN taken USING (domain_id)
LEFT JOIN excluded USING (domain_id)
JOIN domain USING (domain_id)
ORDER BY scored DESC, domain;
