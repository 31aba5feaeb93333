-- All mixtures with their latest version: date, corpus, size.
-- Parameters:
SELECT DISTINCT ON (mixture.name) mixture.name AS mixture, version, mixture.created_at, uri AS corpus, policy, mixture.tokenizer,
       budget_tokens, realised_tokens, samples, copies, airflow_run_id
FROM mixture JOIN corpus USING (corpus_id)
ORDER BY mixture.name, version DESC;
