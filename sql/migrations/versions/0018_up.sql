CREATE TABLE quality_audit (
    audit_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    corpus_id int NOT NULL REFERENCES corpus,
    quality_model_id int NOT NULL REFERENCES quality_model,
    snapshots text[] NOT NULL,
    documents int NOT NULL,
    verdict text NOT NULL CHECK (verdict IN ('fine', 'warn', 'stop')),
    sources jsonb NOT NULL,
    agreement jsonb NOT NULL,
    findings jsonb NOT NULL,
    extremes jsonb NOT NULL,
    run text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX quality_audit_of ON quality_audit (corpus_id, quality_model_id, audit_id);
COMMENT ON TABLE quality_audit IS 'What a quality model was found to measure on a sample of a corpus: one row each time it was looked at';
COMMENT ON COLUMN quality_audit.audit_id IS 'Surrogate key, in the order of time';
COMMENT ON COLUMN quality_audit.corpus_id IS 'Corpus';
COMMENT ON COLUMN quality_audit.quality_model_id IS 'Quality model';
COMMENT ON COLUMN quality_audit.snapshots IS 'Snapshots that were looked at';
COMMENT ON COLUMN quality_audit.documents IS 'Documents that were looked at';
COMMENT ON COLUMN quality_audit.verdict IS 'fine, warn, or stop: the worst of the findings';
COMMENT ON COLUMN quality_audit.sources IS 'How well domain, crawl, language and content type alone predict quality: R2, and AUC of the better half';
COMMENT ON COLUMN quality_audit.agreement IS 'By other quality model: correlation of ranks';
COMMENT ON COLUMN quality_audit.findings IS 'Measures beyond a limit, with what they mean';
COMMENT ON COLUMN quality_audit.extremes IS 'Places of the documents with the highest and lowest quality of each domain';
COMMENT ON COLUMN quality_audit.run IS 'The run that looked; null for the command samplemix quality audit';
COMMENT ON COLUMN quality_audit.created_at IS 'When';

CREATE TABLE quality_audit_group (
    audit_id int NOT NULL REFERENCES quality_audit ON DELETE CASCADE,
    grouping text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    documents int NOT NULL,
    mean double precision NOT NULL,
    spread double precision NOT NULL,
    lowest_tenth double precision NOT NULL,
    median double precision NOT NULL,
    highest_tenth double precision NOT NULL,
    constant_share double precision NOT NULL,
    length_correlation double precision,
    PRIMARY KEY (audit_id, grouping, name)
);
COMMENT ON TABLE quality_audit_group IS 'What a quality model gave a group of documents, 0 to 1 in its range';
COMMENT ON COLUMN quality_audit_group.audit_id IS 'Audit';
COMMENT ON COLUMN quality_audit_group.grouping IS 'domain, snapshot, language or content_type; empty for all documents';
COMMENT ON COLUMN quality_audit_group.name IS 'Which of them';
COMMENT ON COLUMN quality_audit_group.documents IS 'Documents that were looked at';
COMMENT ON COLUMN quality_audit_group.mean IS 'Mean of their quality';
COMMENT ON COLUMN quality_audit_group.spread IS 'Standard deviation';
COMMENT ON COLUMN quality_audit_group.lowest_tenth IS 'A tenth of them have less';
COMMENT ON COLUMN quality_audit_group.median IS 'Half of them have less';
COMMENT ON COLUMN quality_audit_group.highest_tenth IS 'A tenth of them have more';
COMMENT ON COLUMN quality_audit_group.constant_share IS 'Share of them that have nearly the commonest quality, within a hundredth of the range';
COMMENT ON COLUMN quality_audit_group.length_correlation IS 'Correlation of ranks of quality and of tokens; null where one does not vary';
