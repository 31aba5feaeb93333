-- New documents in each crawl of a mixture, neither duplicates of others nor left out, and how many of them the mixture took.
-- Parameters: mixture, version=
WITH chosen AS (
    SELECT * FROM mixture WHERE mixture_id = mixture_of(:'mixture', :'version')
), scored AS (
    SELECT snapshot_id, sum(score_rollup.documents) AS documents
    FROM chosen JOIN mixture_snapshot USING (mixture_id) JOIN score_rollup USING (snapshot_id, quality_model_id)
    GROUP BY snapshot_id
), taken AS (
    SELECT snapshot_id, sum(mixture_copy_count.samples) AS new_documents, sum(tokens) AS new_tokens,
           sum(mixture_copy_count.samples) FILTER (WHERE mixture_copy_count.copies > 0) AS taken,
           sum(tokens * mixture_copy_count.copies) AS mixture_tokens
    FROM chosen JOIN mixture_copy_count USING (mixture_id)
    GROUP BY snapshot_id
)
SELECT snapshot.name AS snapshot,
       NOT EXISTS (
           SELECT FROM mixture AS parent JOIN mixture_snapshot AS earlier USING (mixture_id)
           WHERE parent.name = chosen.name AND parent.version = chosen.parent_version
               AND earlier.snapshot_id = mixture_snapshot.snapshot_id
       ) AS is_new,
       coalesce(scored.documents, 0)::bigint AS documents,
       coalesce(scored.documents - new_documents, 0)::bigint AS set_apart,
       coalesce(new_documents, 0)::bigint AS new_documents,
       coalesce(new_tokens, 0)::bigint AS new_tokens,
       coalesce(taken, 0)::bigint AS taken,
       coalesce(taken, 0) / nullif(new_documents, 0) AS share_taken,
       coalesce(mixture_tokens, 0)::bigint AS mixture_tokens
FROM chosen
JOIN mixture_snapshot USING (mixture_id)
JOIN snapshot USING (snapshot_id)
LEFT JOIN scored USING (snapshot_id)
LEFT JOIN taken USING (snapshot_id)
ORDER BY snapshot;
