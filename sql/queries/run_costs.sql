-- What runs cost, by step: tasks, documents, core-seconds and GPU-seconds; of one run, or the last ones.
-- Parameters: run=
SELECT run, step, tasks, documents, core_seconds, gpu_seconds, began_at, ended_at
FROM run_cost
WHERE :'run' IN ('', run)
ORDER BY ended_at DESC, run, step
LIMIT 100;
