-- What a document holds of benchmarks, whether a mixture keeps them out or not: item, field, and how much of its words, by rarity.
-- Parameters: corpus, shard, row
SELECT benchmark.name AS benchmark, benchmark_key AS key, item, field, overlap, found
FROM shard
JOIN snapshot USING (snapshot_id)
JOIN sample USING (snapshot_id, shard_id)
JOIN contamination USING (content_hash)
JOIN benchmark USING (benchmark_id)
WHERE corpus_id = corpus_of(:'corpus') AND path = :'shard' AND superseded_at IS NULL AND sample.row = :'row'::bigint
ORDER BY overlap DESC, benchmark, key;
