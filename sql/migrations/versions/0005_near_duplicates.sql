CREATE TABLE near_shard (
    shard_id int PRIMARY KEY REFERENCES shard ON DELETE CASCADE,
    recipe text NOT NULL,
    signature_key text COLLATE "C" NOT NULL,
    signature_sha256 text NOT NULL,
    texts bigint NOT NULL,
    compared boolean NOT NULL DEFAULT false,
    comparing boolean NOT NULL DEFAULT false,
    run text,
    seconds double precision NOT NULL,
    signed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE near_shard IS 'Shards whose texts have MinHash signatures, and may have been compared with all others of their corpus';
COMMENT ON COLUMN near_shard.shard_id IS 'Shard';
COMMENT ON COLUMN near_shard.recipe IS 'How texts became signatures';
COMMENT ON COLUMN near_shard.signature_key IS 'Where the signatures lie, below the state root';
COMMENT ON COLUMN near_shard.signature_sha256 IS 'SHA-256 of that file';
COMMENT ON COLUMN near_shard.texts IS 'Different texts in it';
COMMENT ON COLUMN near_shard.compared IS 'Whether near_pair has all their pairs with texts of the corpus''s other compared shards';
COMMENT ON COLUMN near_shard.comparing IS 'Whether a run is comparing them, or was when it ended';
COMMENT ON COLUMN near_shard.run IS 'The run that had it done';
COMMENT ON COLUMN near_shard.seconds IS 'Time the worker took';
COMMENT ON COLUMN near_shard.signed_at IS 'When it was done';

CREATE TABLE near_candidate (
    corpus_id int NOT NULL REFERENCES corpus ON DELETE CASCADE,
    a uuid NOT NULL,
    b uuid NOT NULL,
    PRIMARY KEY (corpus_id, a, b),
    CHECK (a < b)
);
COMMENT ON TABLE near_candidate IS 'Pairs of texts that share a band of their signatures, while a run compares them';
COMMENT ON COLUMN near_candidate.corpus_id IS 'Corpus';
COMMENT ON COLUMN near_candidate.a IS 'Content hash of a text';
COMMENT ON COLUMN near_candidate.b IS 'Content hash of another';

CREATE TABLE near_text (
    corpus_id int NOT NULL,
    content_hash uuid NOT NULL,
    shingles bytea NOT NULL,
    PRIMARY KEY (corpus_id, content_hash)
);
COMMENT ON TABLE near_text IS 'The shingles of candidates, while a run compares them';
COMMENT ON COLUMN near_text.corpus_id IS 'Corpus';
COMMENT ON COLUMN near_text.content_hash IS 'Content hash';
COMMENT ON COLUMN near_text.shingles IS 'Hashes of its different runs of five words, ascending, 8 bytes each';

CREATE TABLE near_pair (
    corpus_id int NOT NULL REFERENCES corpus ON DELETE CASCADE,
    a uuid NOT NULL,
    b uuid NOT NULL,
    similarity real NOT NULL,
    PRIMARY KEY (corpus_id, a, b),
    CHECK (a < b)
);
COMMENT ON TABLE near_pair IS 'Pairs of different texts of a corpus that share most of their wording, each of them compared in full';
COMMENT ON COLUMN near_pair.corpus_id IS 'Corpus';
COMMENT ON COLUMN near_pair.a IS 'Content hash of a text';
COMMENT ON COLUMN near_pair.b IS 'Content hash of another';
COMMENT ON COLUMN near_pair.similarity IS 'Jaccard similarity of their sets of runs of five words, .75 to 1';

CREATE TABLE mixture_near_duplicate (
    mixture_id int NOT NULL REFERENCES mixture ON DELETE CASCADE,
    shard_id int NOT NULL,
    row bigint NOT NULL,
    kept_shard_id int NOT NULL,
    kept_row bigint NOT NULL,
    similarity real NOT NULL,
    PRIMARY KEY (mixture_id, shard_id, row)
);
COMMENT ON TABLE mixture_near_duplicate IS 'Documents that a mixture leaves out because another, which it may take, has nearly the same text';
COMMENT ON COLUMN mixture_near_duplicate.mixture_id IS 'Mixture';
COMMENT ON COLUMN mixture_near_duplicate.shard_id IS 'Shard of the document that is left out';
COMMENT ON COLUMN mixture_near_duplicate.row IS 'Row of the document that is left out';
COMMENT ON COLUMN mixture_near_duplicate.kept_shard_id IS 'Shard of the document that stays';
COMMENT ON COLUMN mixture_near_duplicate.kept_row IS 'Row of the document that stays';
COMMENT ON COLUMN mixture_near_duplicate.similarity IS 'Jaccard similarity of the two';
CREATE INDEX mixture_near_duplicate_kept ON mixture_near_duplicate (mixture_id, kept_shard_id, kept_row);
