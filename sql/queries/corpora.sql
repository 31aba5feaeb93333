-- All corpora by name, place and the fields that are read: crawls, documents, tokens, documents set aside, and when each was last published.
-- Parameters:
SELECT corpus_id, named.name, uri, concat_ws(', ', reader->>'text_field', reader->>'domain_field') AS fields, rules, corpus.tokenizer, coalesce(is_paused, false) AS is_paused,
       count(snapshot_id) AS snapshots, sum(shards)::bigint AS shards, sum(documents)::bigint AS documents, sum(tokens)::bigint AS tokens,
       sum(quarantined)::bigint AS quarantined, sum(in_trouble)::bigint AS shards_in_trouble, published_at
FROM corpus
LEFT JOIN corpus_config AS named ON config->'run'->>'corpus_uri' = uri
LEFT JOIN snapshot USING (corpus_id)
LEFT JOIN LATERAL (
    SELECT count(*) AS shards, sum(done.scored) AS documents, sum(done.tokens) AS tokens, sum(done.quarantined) AS quarantined,
           count(*) FILTER (WHERE done.state IN ('refused', 'poison', 'failed')) AS in_trouble
    FROM shard
    LEFT JOIN LATERAL (
        SELECT scored, tokens, quarantined, state FROM shard_score
        WHERE shard_score.shard_id = shard.shard_id AND shard_score.etag = shard.etag
        ORDER BY state = 'done' DESC, updated_at DESC LIMIT 1
    ) AS done ON true
    WHERE shard.snapshot_id = snapshot.snapshot_id AND superseded_at IS NULL
) AS held ON true
GROUP BY corpus_id, named.name, uri, reader, rules, corpus.tokenizer, is_paused, published_at
ORDER BY published_at DESC NULLS LAST, corpus_id DESC;
