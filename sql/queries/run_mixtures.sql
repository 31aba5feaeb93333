-- The versions of mixtures that an Airflow run published.
-- Parameters: run
SELECT mixture.name AS mixture, version, mixture.created_at, uri AS corpus, policy, samples, copies, realised_tokens, mixture.tokenizer
FROM mixture JOIN corpus USING (corpus_id)
WHERE airflow_run_id = :'run'
ORDER BY mixture.created_at, mixture, version;
