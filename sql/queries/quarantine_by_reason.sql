-- Records of a corpus that were set aside, by snapshot and reason, with one example each. An example without a row is a whole shard.
-- Parameters: corpus
SELECT snapshot.name AS snapshot,
       reason,
       count(*) AS records,
       count(DISTINCT shard_id) AS shards,
       min(path || CASE WHEN row >= 0 THEN ' row ' || row || ' byte ' || byte_offset ELSE '' END || ': ' || detail) AS example
FROM quarantine
JOIN shard USING (shard_id)
JOIN snapshot USING (snapshot_id)
WHERE corpus_id = corpus_of(:'corpus')
GROUP BY snapshot.name, reason
ORDER BY records DESC, snapshot, reason;
