-- Progress of scoring a corpus, by snapshot and domain, and the time that one worker would take for the rest.
-- Parameters: corpus
SELECT snapshot, domain, encoder, shards, blocks, blocks_done, documents, quarantined, documents_per_core_second, core_seconds_left
FROM scoring_progress
WHERE corpus = (SELECT uri FROM corpus WHERE corpus_id = corpus_of(:'corpus'))
ORDER BY snapshot, domain, encoder;
