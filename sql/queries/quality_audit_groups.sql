-- Scores by domain, crawl, language and content type in the last audit of each quality model of a corpus, as 0 to 1 of the model's range.
-- Parameters: corpus
SELECT quality_model.name AS quality_model, left(quality_model_key, 12) AS key, grouping, part.name, part.documents, mean, spread,
       lowest_tenth, median, highest_tenth, constant_share, length_correlation
FROM (
    SELECT DISTINCT ON (quality_model_id) audit_id, quality_model_id FROM quality_audit WHERE corpus_id = corpus_of(:'corpus')
    ORDER BY quality_model_id, audit_id DESC
) AS audit
JOIN quality_model USING (quality_model_id)
JOIN quality_audit_group AS part USING (audit_id)
WHERE grouping <> ''
ORDER BY grouping, part.name, quality_model.name, quality_model_id;
