CREATE TABLE vocabulary (
    vocabulary_key text NOT NULL COLLATE "C",
    corpus_uri text NOT NULL COLLATE "C",
    tokens int NOT NULL,
    artifact_key text NOT NULL,
    artifact_sha256 text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (corpus_uri, vocabulary_key)
);
COMMENT ON TABLE vocabulary IS 'Vocabularies in whose tokens mixtures are evaluated: one for a corpus, whatever mixture is evaluated';
COMMENT ON COLUMN vocabulary.vocabulary_key IS 'Identity: fingerprint of the tokenizer';
COMMENT ON COLUMN vocabulary.corpus_uri IS 'The corpus that it was trained on';
COMMENT ON COLUMN vocabulary.tokens IS 'How many different tokens it has';
COMMENT ON COLUMN vocabulary.artifact_key IS 'Where its file lies, below the state root';
COMMENT ON COLUMN vocabulary.artifact_sha256 IS 'SHA-256 of that file';
COMMENT ON COLUMN vocabulary.created_at IS 'When it was trained';

CREATE TABLE evaluation (
    evaluation_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    evaluation_key text NOT NULL UNIQUE,
    corpus_uri text NOT NULL COLLATE "C",
    method text NOT NULL COLLATE "C",
    vocabulary_key text NOT NULL COLLATE "C",
    policy text NOT NULL COLLATE "C",
    settings jsonb NOT NULL,
    mixture text COLLATE "C",
    version int,
    draw int NOT NULL,
    budget_tokens bigint NOT NULL,
    share double precision NOT NULL,
    tokens bigint NOT NULL,
    documents bigint NOT NULL,
    copies bigint NOT NULL,
    seconds double precision NOT NULL,
    run text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX ON evaluation (corpus_uri);
CREATE INDEX ON evaluation (mixture, version);
COMMENT ON TABLE evaluation IS 'What a model learns from one draw of a mixture; its losses are in evaluation_loss';
COMMENT ON COLUMN evaluation.evaluation_id IS 'Surrogate key';
COMMENT ON COLUMN evaluation.evaluation_key IS 'Identity: fingerprint of the method, the vocabulary, the targets, and the stream of documents';
COMMENT ON COLUMN evaluation.corpus_uri IS 'The corpus that the mixture is of';
COMMENT ON COLUMN evaluation.method IS 'quick: a 4-gram model that has each document once; transformer: a small one that is trained on the stream';
COMMENT ON COLUMN evaluation.vocabulary_key IS 'Vocabulary of its tokens';
COMMENT ON COLUMN evaluation.policy IS 'The mixture''s policy';
COMMENT ON COLUMN evaluation.settings IS 'What it was solved by: the policy with its parameters, constraints, budget and the rest';
COMMENT ON COLUMN evaluation.mixture IS 'The published mixture; empty for one that was only solved';
COMMENT ON COLUMN evaluation.version IS 'Its version';
COMMENT ON COLUMN evaluation.draw IS 'Number of the draw: of the copies'' chance, the documents that are read, and their order';
COMMENT ON COLUMN evaluation.budget_tokens IS 'The mixture''s budget, in tokens of the corpus''s tokenizer';
COMMENT ON COLUMN evaluation.share IS 'Share of the mixture''s documents that was read';
COMMENT ON COLUMN evaluation.tokens IS 'Tokens that were read, of the vocabulary';
COMMENT ON COLUMN evaluation.documents IS 'Different documents in the stream';
COMMENT ON COLUMN evaluation.copies IS 'Documents in the stream, copies counted';
COMMENT ON COLUMN evaluation.seconds IS 'Time the worker took';
COMMENT ON COLUMN evaluation.run IS 'The run that had it done';
COMMENT ON COLUMN evaluation.created_at IS 'When it was done';

CREATE TABLE evaluation_loss (
    evaluation_id int NOT NULL REFERENCES evaluation ON DELETE CASCADE,
    benchmark_id int NOT NULL REFERENCES benchmark,
    text_group text NOT NULL COLLATE "C",
    half smallint NOT NULL,
    tokens bigint NOT NULL,
    nats double precision NOT NULL,
    n_bytes bigint NOT NULL,
    PRIMARY KEY (evaluation_id, benchmark_id, text_group, half, tokens)
);
COMMENT ON TABLE evaluation_loss IS 'Losses on a group of a target''s texts, at several points of an evaluation: nats / n_bytes is nats a byte';
COMMENT ON COLUMN evaluation_loss.evaluation_id IS 'Evaluation';
COMMENT ON COLUMN evaluation_loss.benchmark_id IS 'Target, by the benchmark that has its texts';
COMMENT ON COLUMN evaluation_loss.text_group IS 'Group of its texts: the domain, or what a field says';
COMMENT ON COLUMN evaluation_loss.half IS 'Half of these, 0 or 1, by content hash';
COMMENT ON COLUMN evaluation_loss.tokens IS 'Tokens of the stream that had been read';
COMMENT ON COLUMN evaluation_loss.nats IS 'Loss on the texts together';
COMMENT ON COLUMN evaluation_loss.n_bytes IS 'Bytes of the texts together';

CREATE TABLE comparison (
    comparison_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    corpus_uri text NOT NULL COLLATE "C",
    mixture text NOT NULL COLLATE "C",
    version int,
    report jsonb NOT NULL,
    run text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX ON comparison (mixture, version);
COMMENT ON TABLE comparison IS 'Comparisons of mixtures over the scores of a published version or a draft';
COMMENT ON COLUMN comparison.comparison_id IS 'Surrogate key';
COMMENT ON COLUMN comparison.corpus_uri IS 'Corpus';
COMMENT ON COLUMN comparison.mixture IS 'The mixture whose scores all were solved over';
COMMENT ON COLUMN comparison.version IS 'Its version; empty for a draft that was not published';
COMMENT ON COLUMN comparison.report IS 'Gains on each target with their errors, losses by group, and what can be concluded';
COMMENT ON COLUMN comparison.run IS 'The run that had it done';
COMMENT ON COLUMN comparison.created_at IS 'When it was done';

CREATE TABLE comparison_evaluation (
    comparison_id int NOT NULL REFERENCES comparison ON DELETE CASCADE,
    contender text NOT NULL COLLATE "C",
    draw int NOT NULL,
    evaluation_id int NOT NULL REFERENCES evaluation,
    PRIMARY KEY (comparison_id, contender, draw, evaluation_id)
);
CREATE INDEX ON comparison_evaluation (evaluation_id);
COMMENT ON TABLE comparison_evaluation IS 'The evaluations that a comparison is made of';
COMMENT ON COLUMN comparison_evaluation.comparison_id IS 'Comparison';
COMMENT ON COLUMN comparison_evaluation.contender IS 'What the mixture is called in it';
COMMENT ON COLUMN comparison_evaluation.draw IS 'Number of the draw';
COMMENT ON COLUMN comparison_evaluation.evaluation_id IS 'Evaluation';
