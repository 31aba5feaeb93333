-- How far each crawl is from the sample that the corpus's clusters were fitted on, in all and by language.
-- Parameters: corpus
SELECT snapshot.name AS snapshot, coalesce(nullif(language, ''), 'all') AS language, documents, far, far_in_sample,
       distance_shift, share_shift, known AS language_known, in_sample, array_to_string(over, '; ') AS over, measured_at
FROM crawl_drift
JOIN snapshot USING (snapshot_id)
JOIN corpus USING (corpus_id)
WHERE corpus_id = corpus_of(:'corpus')
    AND cluster_model_id = coalesce(
        next_cluster_model, current_cluster_model,
        (SELECT max(cluster_model_id) FROM crawl_drift AS other JOIN snapshot AS its USING (snapshot_id) WHERE its.corpus_id = corpus.corpus_id))
ORDER BY snapshot.name, crawl_drift.language <> '', documents DESC, crawl_drift.language;
