-- All versions of a mixture: date, number of crawls, size, and changes against the version before. The parameters of phases are in mixture_phases.
-- Parameters: mixture
SELECT mixture.version, mixture.created_at, policy,
       CASE policy WHEN config->'policy'->>'name' THEN (config->'policy') - 'name' ELSE '{}' END AS parameters, seed,
       (SELECT count(*) FROM mixture_snapshot WHERE mixture_snapshot.mixture_id = mixture.mixture_id) AS snapshots,
       eligible, samples, copies, realised_tokens, tokenizer, entered, departed, more_copies, fewer_copies, airflow_run_id
FROM mixture
LEFT JOIN mixture_change USING (mixture_id)
WHERE name = :'mixture'
ORDER BY mixture.version DESC;
