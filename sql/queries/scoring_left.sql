-- How far the scoring of a corpus is, by snapshot and domain, and how long one worker would take for the rest.
-- Parameters: corpus
SELECT snapshot, domain, encoder, shards, blocks, blocks_done, documents, quarantined, documents_per_core_second, core_seconds_left
FROM scoring_progress
WHERE corpus = (SELECT uri FROM corpus WHERE corpus_id = corpus_of(:'corpus'))
ORDER BY snapshot, domain, encoder;
