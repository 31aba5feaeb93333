-- Costs of one run, or of the last ones, by step: tasks, documents, core-seconds and GPU-seconds.
-- Parameters: run=
SELECT run, step, tasks, documents, core_seconds, gpu_seconds, began_at, ended_at
FROM run_cost
WHERE :'run' IN ('', run)
ORDER BY ended_at DESC, run, step
LIMIT 100;
