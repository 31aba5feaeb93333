CREATE TABLE rubric (
    rubric_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    rubric_key text NOT NULL UNIQUE,
    name text NOT NULL,
    spec jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE rubric IS 'What quality is judged by: dimensions with their ranges and meanings';
COMMENT ON COLUMN rubric.rubric_id IS 'Surrogate key';
COMMENT ON COLUMN rubric.rubric_key IS 'Identity: fingerprint of the specification';
COMMENT ON COLUMN rubric.name IS 'What the rubric is called';
COMMENT ON COLUMN rubric.spec IS 'Name and dimensions, in order: each its name, best score and meaning';
COMMENT ON COLUMN rubric.created_at IS 'When it was entered';

CREATE TABLE annotator (
    annotator_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE,
    rubric_id int NOT NULL REFERENCES rubric,
    spec jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE annotator IS 'Who judged texts by a rubric: people, or a language model with a prompt';
COMMENT ON COLUMN annotator.annotator_id IS 'Surrogate key';
COMMENT ON COLUMN annotator.name IS 'What the annotator is called';
COMMENT ON COLUMN annotator.rubric_id IS 'The rubric that it judged by';
COMMENT ON COLUMN annotator.spec IS 'What decides its judgement, as far as it is known';
COMMENT ON COLUMN annotator.created_at IS 'When it was entered';

CREATE TABLE labelled_text (
    content_hash uuid PRIMARY KEY,
    text text NOT NULL,
    doc_id text,
    source text COLLATE "C" NOT NULL,
    language text COLLATE "C",
    split_group text COLLATE "C",
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE labelled_text IS 'Texts that were given to annotators, each once';
COMMENT ON COLUMN labelled_text.content_hash IS '128-bit hash of the text, as in sample';
COMMENT ON COLUMN labelled_text.text IS 'The whole text';
COMMENT ON COLUMN labelled_text.doc_id IS 'The document''s own id, if it has one';
COMMENT ON COLUMN labelled_text.source IS 'Where it is from: a corpus''s domain, or a file of labels';
COMMENT ON COLUMN labelled_text.language IS 'Its language, if that was said';
COMMENT ON COLUMN labelled_text.split_group IS 'Texts of one group are never divided between training and testing; empty: a group of its own';
COMMENT ON COLUMN labelled_text.created_at IS 'When it was entered';

CREATE TABLE annotation (
    annotator_id int NOT NULL REFERENCES annotator,
    content_hash uuid NOT NULL REFERENCES labelled_text,
    scores smallint[] NOT NULL,
    overall smallint NOT NULL,
    rationale text,
    input_tokens int,
    output_tokens int,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (annotator_id, content_hash)
);
CREATE INDEX annotation_by_text ON annotation (content_hash);
COMMENT ON TABLE annotation IS 'What an annotator said of a text';
COMMENT ON COLUMN annotation.annotator_id IS 'Who';
COMMENT ON COLUMN annotation.content_hash IS 'Of which text';
COMMENT ON COLUMN annotation.scores IS 'A score for each dimension of the annotator''s rubric, in its order';
COMMENT ON COLUMN annotation.overall IS 'The sum of the scores';
COMMENT ON COLUMN annotation.rationale IS 'Why, in a sentence, if that was said';
COMMENT ON COLUMN annotation.input_tokens IS 'Tokens that a language model read for it, all attempts counted; empty for others';
COMMENT ON COLUMN annotation.output_tokens IS 'Tokens that it wrote';
COMMENT ON COLUMN annotation.created_at IS 'When it was entered';

CREATE TABLE annotation_refusal (
    annotator_id int NOT NULL REFERENCES annotator,
    content_hash uuid NOT NULL REFERENCES labelled_text,
    reason text NOT NULL,
    detail text NOT NULL,
    attempts int NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (annotator_id, content_hash)
);
COMMENT ON TABLE annotation_refusal IS 'Texts of which an annotator gave no judgement that can be used, after being asked again';
COMMENT ON COLUMN annotation_refusal.annotator_id IS 'Who';
COMMENT ON COLUMN annotation_refusal.content_hash IS 'Of which text';
COMMENT ON COLUMN annotation_refusal.reason IS 'What was wrong with the last answer';
COMMENT ON COLUMN annotation_refusal.detail IS 'The same, for people';
COMMENT ON COLUMN annotation_refusal.attempts IS 'How often it was asked';
COMMENT ON COLUMN annotation_refusal.created_at IS 'When it was given up';

CREATE TABLE labelled_vector (
    encoder_id int NOT NULL REFERENCES encoder,
    content_hash uuid NOT NULL REFERENCES labelled_text,
    vector bytea NOT NULL,
    PRIMARY KEY (encoder_id, content_hash)
);
COMMENT ON TABLE labelled_vector IS 'Vectors of labelled texts, so that training again embeds nothing again';
COMMENT ON COLUMN labelled_vector.encoder_id IS 'Which encoder made it';
COMMENT ON COLUMN labelled_vector.content_hash IS 'Of which text';
COMMENT ON COLUMN labelled_vector.vector IS 'The unit vector as float16, little-endian';

ALTER TABLE quality_model
    ADD COLUMN name text COLLATE "C" NOT NULL DEFAULT 'composite',
    ADD COLUMN rubric_id int REFERENCES rubric,
    ADD COLUMN artifact_key text,
    ADD COLUMN artifact_sha256 text,
    ADD COLUMN report jsonb,
    ADD COLUMN created_at timestamptz NOT NULL DEFAULT now();
ALTER TABLE quality_model ALTER COLUMN name DROP DEFAULT;
COMMENT ON COLUMN quality_model.name IS 'What it is called; of several with one name, the newest is meant';
COMMENT ON COLUMN quality_model.rubric_id IS 'The rubric of its labels, if it was trained on labels';
COMMENT ON COLUMN quality_model.artifact_key IS 'Where its weights lie, below the state root; empty where the code is all of it';
COMMENT ON COLUMN quality_model.artifact_sha256 IS 'SHA-256 of the weights';
COMMENT ON COLUMN quality_model.report IS 'How it was trained, and how good it was on documents that it had not seen';
COMMENT ON COLUMN quality_model.created_at IS 'When it was entered';
