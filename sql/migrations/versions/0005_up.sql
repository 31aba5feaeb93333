CREATE TABLE block (
    shard_id int NOT NULL REFERENCES shard,
    block int NOT NULL,
    first_row bigint NOT NULL,
    rows bigint,
    byte_offset bigint NOT NULL,
    n_bytes bigint,
    PRIMARY KEY (shard_id, block)
);
COMMENT ON TABLE block IS 'The plan of each shard: the blocks of rows that are scored one by one. Facts of the file, the same under every model';
COMMENT ON COLUMN block.shard_id IS 'Shard';
COMMENT ON COLUMN block.block IS 'Number of the block in its shard, from 0';
COMMENT ON COLUMN block.first_row IS 'Its first row';
COMMENT ON COLUMN block.rows IS 'How many rows it has, blank lines counted; empty where it reaches to the end';
COMMENT ON COLUMN block.byte_offset IS 'Where it begins, in decompressed bytes; -1 in Parquet';
COMMENT ON COLUMN block.n_bytes IS 'Bytes of its rows, decompressed; empty where it reaches to the end';

CREATE TABLE block_score (
    shard_id int NOT NULL,
    encoder_id int NOT NULL REFERENCES encoder,
    quality_model_id int NOT NULL REFERENCES quality_model,
    block int NOT NULL,
    scored int NOT NULL,
    quarantined int NOT NULL,
    tokens bigint NOT NULL,
    text_bytes bigint NOT NULL,
    embedding_key text NOT NULL,
    embedding_sha256 text NOT NULL,
    embedding_digest text NOT NULL,
    embedding_dim int NOT NULL,
    seconds double precision NOT NULL,
    done_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (shard_id, encoder_id, quality_model_id, block),
    FOREIGN KEY (shard_id, block) REFERENCES block
);
COMMENT ON TABLE block_score IS 'The ledger of blocks: those that are scored, under each pair of encoder and quality model';
COMMENT ON COLUMN block_score.shard_id IS 'Shard';
COMMENT ON COLUMN block_score.encoder_id IS 'Encoder version';
COMMENT ON COLUMN block_score.quality_model_id IS 'Quality model version';
COMMENT ON COLUMN block_score.block IS 'Block of the shard';
COMMENT ON COLUMN block_score.scored IS 'Documents with scores: rows of sample and of quality_score';
COMMENT ON COLUMN block_score.quarantined IS 'Records that could not be read: rows of quarantine';
COMMENT ON COLUMN block_score.tokens IS 'Tokens of the scored documents';
COMMENT ON COLUMN block_score.text_bytes IS 'Bytes of their texts in UTF-8';
COMMENT ON COLUMN block_score.embedding_key IS 'Where the block''s embeddings lie, below the state root';
COMMENT ON COLUMN block_score.embedding_sha256 IS 'SHA-256 of that file';
COMMENT ON COLUMN block_score.embedding_digest IS 'Digest of its rows and vectors; those of a shard''s blocks add up to the shard''s';
COMMENT ON COLUMN block_score.embedding_dim IS 'Dimensions of a vector';
COMMENT ON COLUMN block_score.seconds IS 'Time the worker took';
COMMENT ON COLUMN block_score.done_at IS 'When it was done';

-- What was scored before there were blocks is one block.
INSERT INTO block SELECT DISTINCT shard_id, 0, 0::bigint, NULL::bigint, 0::bigint, NULL::bigint FROM shard_score WHERE state = 'done';
INSERT INTO block_score
SELECT shard_score.shard_id, encoder_id, quality_model_id, 0, scored, quarantined, tokens,
       coalesce((SELECT sum(n_bytes) FROM sample
                 WHERE sample.snapshot_id = shard.snapshot_id AND sample.shard_id = shard.shard_id), 0),
       embedding_key, embedding_sha256, embedding_sha256, embedding_dim, coalesce(seconds, 0), updated_at
FROM shard_score JOIN shard USING (shard_id) WHERE state = 'done';

ALTER TABLE shard_score DROP CONSTRAINT done_adds_up;
ALTER TABLE shard_score DROP COLUMN embedding_key;
ALTER TABLE shard_score RENAME COLUMN embedding_sha256 TO embedding_digest;
ALTER TABLE shard_score ADD COLUMN text_bytes bigint;
UPDATE shard_score SET text_bytes = block_score.text_bytes
FROM block_score
WHERE state = 'done' AND block_score.shard_id = shard_score.shard_id
    AND block_score.encoder_id = shard_score.encoder_id AND block_score.quality_model_id = shard_score.quality_model_id;
ALTER TABLE shard_score ADD CONSTRAINT done_adds_up CHECK (
    state <> 'done'
    OR (documents IS NOT NULL AND scored IS NOT NULL AND quarantined IS NOT NULL AND tokens IS NOT NULL AND text_bytes IS NOT NULL
        AND documents = scored + quarantined
        AND embedding_digest IS NOT NULL AND embedding_rows = scored AND embedding_dim > 0 AND error IS NULL)
);
COMMENT ON COLUMN shard_score.embedding_digest IS 'Digest of the shard''s rows and vectors, however it was cut into blocks';
COMMENT ON COLUMN shard_score.embedding_rows IS 'Vectors in the embedding files of its blocks';
COMMENT ON COLUMN shard_score.text_bytes IS 'Bytes of the scored documents'' texts in UTF-8';
COMMENT ON COLUMN shard_score.seconds IS 'Time the workers took, all blocks together';

ALTER TABLE shard_assignment RENAME COLUMN embedding_sha256 TO embedding_digest;
COMMENT ON COLUMN shard_assignment.embedding_digest IS 'Digest of the vectors that were assigned; another one now makes this row stale';
