CREATE TABLE quality_ranks (
    corpus_id int NOT NULL REFERENCES corpus ON DELETE CASCADE,
    quality_model_id int NOT NULL REFERENCES quality_model ON DELETE CASCADE,
    documents bigint NOT NULL,
    quality double precision[] NOT NULL,
    place double precision[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (corpus_id, quality_model_id)
);
COMMENT ON TABLE quality_ranks IS 'Which part of a corpus''s documents a quality model found worse: fixed by the first mixture that is normalised by ranks';
COMMENT ON COLUMN quality_ranks.corpus_id IS 'Corpus';
COMMENT ON COLUMN quality_ranks.quality_model_id IS 'Quality model';
COMMENT ON COLUMN quality_ranks.documents IS 'Documents that it was counted on';
COMMENT ON COLUMN quality_ranks.quality IS 'Scores, ascending: about a hundred quantiles';
COMMENT ON COLUMN quality_ranks.place IS 'The share of documents with less than each score, and half of those with just that';
COMMENT ON COLUMN quality_ranks.created_at IS 'When it was fixed';
