-- Benchmarks that mixtures can keep out: their items and searched parts, shards searched, and texts that hold something of them.
-- Parameters:
SELECT name, benchmark_key AS key, items, parts, created_at,
       (SELECT count(*) FROM benchmark_shard WHERE benchmark_shard.benchmark_id = benchmark.benchmark_id) AS shards,
       (SELECT count(*) FROM contamination WHERE contamination.benchmark_id = benchmark.benchmark_id) AS texts,
       (report -> 'recall' ->> 'exact')::float8 AS recall_exact,
       (report -> 'recall' ->> 're-wrapped')::float8 AS recall_rewrapped,
       (report -> 'recall' ->> 'case and punctuation')::float8 AS recall_respelled,
       (report -> 'recall' ->> 'one word in ten')::float8 AS recall_edited
FROM benchmark
ORDER BY name, created_at DESC;
