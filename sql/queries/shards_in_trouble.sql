-- Shards of a corpus that could not be scored: refused, poison (killed their workers) or failed, with the reason; at most 200.
-- Parameters: corpus
SELECT snapshot.name AS snapshot, path AS shard, state, attempts, error, size_bytes, updated_at
FROM shard
JOIN snapshot USING (snapshot_id)
JOIN shard_score USING (shard_id, etag)
WHERE corpus_id = corpus_of(:'corpus') AND superseded_at IS NULL AND state IN ('refused', 'poison', 'failed')
ORDER BY updated_at DESC, path COLLATE "C"
LIMIT 200;
