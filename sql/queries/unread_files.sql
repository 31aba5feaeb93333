-- Files of a corpus that are not read, with the reason: in no snapshot or domain, hidden, another suffix, a note, a bad path, not a file; largest first, at most 1,000. For the files that are read, see shards_in_trouble and quarantine_by_reason.
-- Parameters: corpus
SELECT snapshot, path, reason, size_bytes, seen_at, sum(size_bytes) OVER ()::bigint AS bytes_in_all, count(*) OVER () AS files_in_all
FROM unread_file
WHERE corpus_id = corpus_of(:'corpus')
ORDER BY size_bytes DESC, path
LIMIT 1000;
