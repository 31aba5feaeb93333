-- One version of a mixture: its figures, its settings, and the models it was made with.
-- Parameters: mixture, version=
SELECT mixture.name AS mixture, version, mixture.created_at, uri AS corpus, policy, config, seed, budget_tokens, realised_tokens, samples,
       copies, documents, scored, quarantined, duplicates, eligible,
       (SELECT coalesce(sum(mixture_left_out.documents), 0)::bigint FROM mixture_left_out
        WHERE mixture_left_out.mixture_id = mixture.mixture_id) AS left_out, mixture.tokenizer, parent_version, airflow_run_id, manifest_uri,
       content_digest, quality_model_key AS quality_model, q_low AS quality_low, q_high AS quality_high, quality_model.name AS quality_by,
       (SELECT array_agg(other.name ORDER BY other.name) FROM quality_model AS other WHERE other.quality_model_id = ANY(other_quality_model_ids))
       AS quality_beside, encoder_key AS encoder,
       cluster_model_key AS cluster_model, mixture_id, mixture.corpus_id,
       (SELECT array_agg(name ORDER BY name) FROM mixture_snapshot JOIN snapshot USING (snapshot_id)
        WHERE mixture_snapshot.mixture_id = mixture.mixture_id) AS snapshots,
       EXISTS (SELECT FROM mixture_rollup WHERE mixture_rollup.mixture_id = mixture.mixture_id) AS has_rollup,
       entered, departed, more_copies, fewer_copies, same_copies
FROM mixture
JOIN corpus USING (corpus_id)
JOIN quality_model USING (quality_model_id)
JOIN encoder USING (encoder_id)
JOIN cluster_model USING (cluster_model_id)
LEFT JOIN mixture_change USING (mixture_id)
WHERE mixture_id = mixture_of(:'mixture', :'version');
