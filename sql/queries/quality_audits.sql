-- The last audit of each quality model of a corpus: verdict, findings, and what predicts its scores.
-- Parameters: corpus
SELECT quality_model.name AS quality_model, left(quality_model_key, 12) AS key, verdict, documents, mean, spread, constant_share,
       length_correlation,
       (SELECT (item->>'r2')::float8 FROM jsonb_array_elements(sources) AS item WHERE item->>'grouping' = 'domain') AS domain_r2,
       (SELECT (item->>'auc')::float8 FROM jsonb_array_elements(sources) AS item WHERE item->>'grouping' = 'domain') AS domain_auc,
       (SELECT (item->>'r2')::float8 FROM jsonb_array_elements(sources) AS item WHERE item->>'grouping' = 'language') AS language_r2,
       agreement, findings, extremes, snapshots, run, audit.created_at
FROM (
    SELECT DISTINCT ON (quality_model_id) * FROM quality_audit WHERE corpus_id = corpus_of(:'corpus')
    ORDER BY quality_model_id, audit_id DESC
) AS audit
JOIN quality_model USING (quality_model_id)
JOIN (
    SELECT audit_id, documents, mean, spread, constant_share, length_correlation FROM quality_audit_group WHERE grouping = ''
) AS whole USING (audit_id, documents)
ORDER BY quality_model.name, quality_model_id;
