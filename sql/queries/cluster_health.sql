-- What the fit of a corpus's clusters shows of itself: each clustering, how far they agree on d, and what d goes with.
-- Parameters: corpus, model=
WITH model AS (
    SELECT health
    FROM cluster_model JOIN corpus USING (corpus_id)
    WHERE corpus_id = corpus_of(:'corpus') AND health IS NOT NULL
        AND CASE WHEN :'model' = '' THEN cluster_model_id = coalesce(next_cluster_model, current_cluster_model)
                 ELSE starts_with(cluster_model_key, :'model') END
), figures AS (
    SELECT 1 AS part, place, 'fit by ' || (fit->>'mode') AS figure, NULL::float8 AS value, (fit->>'clusters')::int AS clusters,
           (fit->>'largest_share')::float8 AS largest_share, (fit->>'noise_share')::float8 AS noise_share
    FROM model, jsonb_array_elements(health->'reports') WITH ORDINALITY AS fits (fit, place)
    UNION ALL
    SELECT 2, 1, 'rank correlation of d between two fits', (health->>'agreement')::float8, NULL, NULL, NULL FROM model
    UNION ALL
    SELECT 3, place, 'd and ' || replace(factor->>'name', '_', ' '), (factor->>'correlation')::float8, NULL, NULL, NULL
    FROM model, jsonb_array_elements(health->'factors') WITH ORDINALITY AS factors (factor, place)
)
SELECT figure, value, clusters, largest_share, noise_share FROM figures ORDER BY part, place;
