-- Changes by language and by content type between two versions of a mixture, or of two mixtures, from their samples.
-- Parameters: mixture, older, newer=, older_mixture=
WITH held AS (
    SELECT mixture_id = mixture_of(coalesce(nullif(:'older_mixture', ''), :'mixture'), :'older') AS is_older,
           mixture_id = mixture_of(:'mixture', :'newer') AS is_newer, language, content_type, copies,
           mixture_sample.n_tokens::bigint * copies AS tokens
    FROM mixture_sample
    JOIN sample USING (snapshot_id, shard_id, row)
    WHERE mixture_id IN (
        mixture_of(coalesce(nullif(:'older_mixture', ''), :'mixture'), :'older'), mixture_of(:'mixture', :'newer')
    )
)
SELECT CASE WHEN grouping(language) = 0 THEN 'language' ELSE 'content_type' END AS kind,
       coalesce(language, content_type, 'not known') AS name,
       count(*) FILTER (WHERE is_older) AS documents_before,
       coalesce(sum(copies) FILTER (WHERE is_older), 0)::bigint AS copies_before,
       coalesce(sum(tokens) FILTER (WHERE is_older), 0)::bigint AS tokens_before,
       count(*) FILTER (WHERE is_newer) AS documents,
       coalesce(sum(copies) FILTER (WHERE is_newer), 0)::bigint AS copies,
       coalesce(sum(tokens) FILTER (WHERE is_newer), 0)::bigint AS tokens
FROM held
GROUP BY GROUPING SETS ((language), (content_type))
ORDER BY kind DESC, tokens DESC, name;
