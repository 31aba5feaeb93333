-- The benchmarks that a mixture keeps out.
-- Parameters: mixture, version=
SELECT benchmark.name AS benchmark, benchmark_key AS key, items, parts
FROM mixture_benchmark JOIN benchmark USING (benchmark_id)
WHERE mixture_id = mixture_of(:'mixture', :'version')
ORDER BY benchmark.name;
