-- What was set aside in a corpus and why: records by snapshot and reason, with one example each. Row -1 is a whole shard.
-- Parameters: corpus
SELECT snapshot.name AS snapshot,
       reason,
       count(*) AS records,
       count(DISTINCT shard_id) AS shards,
       min(path || ' row ' || row || ' byte ' || byte_offset || ': ' || detail) AS example
FROM quarantine
JOIN shard USING (shard_id)
JOIN snapshot USING (snapshot_id)
WHERE corpus_id = corpus_of(:'corpus')
GROUP BY snapshot.name, reason
ORDER BY records DESC, snapshot, reason;
