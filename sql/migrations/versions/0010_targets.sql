CREATE TABLE target (
    target_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    benchmark_id int NOT NULL REFERENCES benchmark,
    name text NOT NULL COLLATE "C",
    corpus_uri text COLLATE "C",
    n_bytes bigint NOT NULL,
    report jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    dropped_at timestamptz,
    UNIQUE NULLS NOT DISTINCT (benchmark_id, corpus_uri)
);
CREATE INDEX ON target (corpus_uri);
COMMENT ON TABLE target IS 'Targets: texts that mixtures are evaluated on, and that no evaluated mixture may hold';
COMMENT ON COLUMN target.target_id IS 'Surrogate key';
COMMENT ON COLUMN target.benchmark_id IS 'The benchmark that has its texts, called target.NAME';
COMMENT ON COLUMN target.name IS 'What it is called; of several with one name, the newest is meant';
COMMENT ON COLUMN target.corpus_uri IS 'The corpus that it was drawn from, whose mixtures keep it out; empty for one of files';
COMMENT ON COLUMN target.n_bytes IS 'Bytes of its texts in UTF-8';
COMMENT ON COLUMN target.report IS 'Texts, bytes and, of what was drawn, the share of the corpus''s bytes, by group: the domain, or what a field says; what was left out, and why';
COMMENT ON COLUMN target.created_at IS 'When it was entered';
COMMENT ON COLUMN target.dropped_at IS 'When it was given up: mixtures don''t keep it out any more';
