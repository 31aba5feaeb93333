-- The cluster models of a corpus, the newest first: which one versions have, what it came from, and what it changed.
-- Parameters: corpus
SELECT left(model.cluster_model_key, 12) AS model, model.cluster_model_id AS number,
       CASE model.cluster_model_id WHEN next_cluster_model THEN 'next' WHEN current_cluster_model THEN 'current' ELSE '' END AS used,
       model.created_at, model.fit_rows AS documents, model.n_clusters AS clusters, model.fit_noise_share AS noise,
       parent.cluster_model_id AS parent,
       (SELECT string_agg(count || ' ' || fate, ', ' ORDER BY array_position('{kept,split,born,merged,died}', fate))
        FROM (SELECT fate, count(*) FROM cluster_heir WHERE cluster_heir.cluster_model_id = model.cluster_model_id GROUP BY fate) AS told
       ) AS clusters_against_parent,
       (model.change->'against_parent'->>'correlation')::float8 AS d_correlation,
       (model.change->'against_parent'->>'moved')::float8 AS d_moved,
       (model.change->'mixture'->>'overlap')::float8 AS mixture_overlap
FROM cluster_model AS model
JOIN corpus USING (corpus_id)
LEFT JOIN cluster_model AS parent ON parent.cluster_model_id = model.parent_id
WHERE model.corpus_id = corpus_of(:'corpus')
ORDER BY model.cluster_model_id DESC;
