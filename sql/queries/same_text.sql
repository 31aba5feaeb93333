-- Other places of a document's text: all documents of its corpus with the same hash; the first one is the one that is mixed.
-- Parameters: corpus, shard, row
WITH document AS (
    SELECT content_hash
    FROM shard JOIN snapshot USING (snapshot_id) JOIN sample USING (snapshot_id, shard_id)
    WHERE corpus_id = corpus_of(:'corpus') AND path = :'shard' AND superseded_at IS NULL AND row = :'row'::bigint
)
SELECT snapshot.name AS snapshot, path AS shard, row, doc_id, domain.name AS domain, n_tokens
FROM sample
JOIN snapshot USING (snapshot_id)
JOIN shard USING (shard_id)
JOIN domain USING (domain_id)
WHERE content_hash = (SELECT content_hash FROM document) AND corpus_id = corpus_of(:'corpus') AND superseded_at IS NULL
ORDER BY snapshot.name COLLATE "C", path COLLATE "C", row;
