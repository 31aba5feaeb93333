-- What a refit made of a corpus's clusters: each cluster's name, what became of it, and words for it; of the model that versions have, or another.
-- Parameters: corpus, model=
WITH model AS (
    SELECT cluster_model_id, parent_id
    FROM cluster_model JOIN corpus USING (corpus_id)
    WHERE corpus_id = corpus_of(:'corpus')
        AND CASE WHEN :'model' = '' THEN cluster_model_id = coalesce(next_cluster_model, current_cluster_model)
                 ELSE starts_with(cluster_model_key, :'model') END
)
SELECT coalesce(own.name, before.name) AS name, fate, before.name AS parent, heir.cluster, shared,
       before.size AS documents_before, own.size AS documents, coalesce(own.terms, before.terms) AS terms
FROM model
JOIN cluster_heir AS heir USING (cluster_model_id)
LEFT JOIN cluster AS own ON own.cluster_model_id = model.cluster_model_id AND own.cluster = heir.cluster AND fate IN ('kept', 'split', 'born')
LEFT JOIN cluster AS before ON before.cluster_model_id = model.parent_id AND before.cluster = heir.parent
ORDER BY array_position('{kept,split,born,merged,died}', fate), heir.cluster, heir.parent;
