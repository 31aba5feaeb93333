ALTER TABLE shard_assignment RENAME COLUMN embedding_digest TO embedding_sha256;
COMMENT ON COLUMN shard_assignment.embedding_sha256 IS 'Embedding file that was assigned; another one now makes this row stale';

ALTER TABLE shard_score DROP CONSTRAINT done_adds_up;
ALTER TABLE shard_score DROP COLUMN text_bytes;
ALTER TABLE shard_score RENAME COLUMN embedding_digest TO embedding_sha256;
ALTER TABLE shard_score ADD COLUMN embedding_key text;
-- A shard of several blocks has no one file: it is scored again.
UPDATE shard_score SET state = 'pending' WHERE (SELECT count(*) FROM block WHERE block.shard_id = shard_score.shard_id) > 1;
UPDATE shard_score SET embedding_key = block_score.embedding_key, embedding_sha256 = block_score.embedding_sha256
FROM block_score
WHERE state = 'done' AND block_score.shard_id = shard_score.shard_id
    AND block_score.encoder_id = shard_score.encoder_id AND block_score.quality_model_id = shard_score.quality_model_id;
ALTER TABLE shard_score ADD CONSTRAINT done_adds_up CHECK (
    state <> 'done'
    OR (documents IS NOT NULL AND scored IS NOT NULL AND quarantined IS NOT NULL AND tokens IS NOT NULL
        AND documents = scored + quarantined
        AND embedding_key IS NOT NULL AND embedding_sha256 IS NOT NULL
        AND embedding_rows = scored AND embedding_dim > 0 AND error IS NULL)
);
COMMENT ON COLUMN shard_score.embedding_key IS 'Where the embeddings lie, below the state root';
COMMENT ON COLUMN shard_score.embedding_sha256 IS 'SHA-256 of the embedding file';
COMMENT ON COLUMN shard_score.embedding_rows IS 'Vectors in the embedding file';
COMMENT ON COLUMN shard_score.seconds IS 'Time the worker took';

DROP TABLE block_score;
DROP TABLE block;
