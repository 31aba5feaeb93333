-- Progress of each crawl of a corpus: documents, documents set aside, shards in trouble, pace, and the time left.
-- Parameters: corpus
SELECT snapshot.name AS snapshot, crawl.state AS landing, crawl.reason, crawl.landed_at, crawl.run,
       shards, blocks, blocks_done, documents, tokens, quarantined, refused, poison, documents_per_core_second, core_seconds_left,
       last_done_at
FROM snapshot
JOIN corpus USING (corpus_id)
LEFT JOIN corpus_config ON config->'run'->>'corpus_uri' = uri
LEFT JOIN crawl ON crawl.corpus = corpus_config.name AND crawl.snapshot = snapshot.name
LEFT JOIN (
    SELECT snapshot, sum(shards)::bigint AS shards, sum(blocks)::bigint AS blocks, sum(blocks_done)::bigint AS blocks_done,
           sum(documents)::bigint AS documents, sum(tokens)::bigint AS tokens, sum(quarantined)::bigint AS quarantined,
           sum(documents) / nullif(sum(core_seconds), 0) AS documents_per_core_second, sum(core_seconds_left) AS core_seconds_left,
           max(last_done_at) AS last_done_at, row_number() OVER (PARTITION BY snapshot ORDER BY max(last_done_at) DESC NULLS LAST) AS place
    FROM scoring_progress
    WHERE scoring_progress.corpus = (SELECT uri FROM corpus WHERE corpus_id = corpus_of(:'corpus'))
    GROUP BY snapshot, encoder_key, quality_model
) AS progress ON progress.snapshot = snapshot.name AND place = 1
LEFT JOIN LATERAL (
    SELECT count(*) FILTER (WHERE state = 'refused') AS refused, count(*) FILTER (WHERE state = 'poison') AS poison
    FROM shard JOIN shard_score USING (shard_id, etag)
    WHERE shard.snapshot_id = snapshot.snapshot_id AND superseded_at IS NULL
) AS trouble ON true
WHERE corpus_id = corpus_of(:'corpus')
ORDER BY snapshot.name DESC;
