-- Targets that mixtures are evaluated on: texts, bytes and groups, the corpus that they were drawn from, and texts of corpora that hold something of them.
-- Parameters:
SELECT target.name, benchmark_key AS key, corpus_uri AS drawn_from, items AS texts, target.n_bytes,
       (SELECT count(*) FROM jsonb_object_keys(target.report -> 'groups')) AS groups, target.created_at, dropped_at,
       (SELECT count(*) FROM benchmark_shard WHERE benchmark_shard.benchmark_id = target.benchmark_id) AS shards,
       (SELECT count(*) FROM contamination WHERE contamination.benchmark_id = target.benchmark_id) AS held_by
FROM target
JOIN benchmark USING (benchmark_id)
ORDER BY target.name, target.created_at DESC;
