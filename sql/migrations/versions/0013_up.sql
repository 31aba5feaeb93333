CREATE FUNCTION mixture_of(name text, version text DEFAULT '') RETURNS int
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
DECLARE
    found int;
BEGIN
    SELECT mixture_id INTO found
    FROM mixture
    WHERE mixture.name = mixture_of.name AND (coalesce(mixture_of.version, '') = '' OR mixture.version = mixture_of.version::int)
    ORDER BY mixture.version DESC LIMIT 1;
    IF found IS NULL THEN
        RAISE EXCEPTION 'there is no mixture %', concat_ws(' version ', quote_literal(left(mixture_of.name, 100)), nullif(left(mixture_of.version, 20), ''))
            USING ERRCODE = 'no_data_found', HINT = 'SELECT name, version FROM mixture lists them.';
    END IF;
    RETURN found;
END
$$;
COMMENT ON FUNCTION mixture_of IS 'The mixture_id of a version of a mixture; of the latest, if none is given. An error if there is none';

CREATE FUNCTION corpus_of(corpus text) RETURNS int
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
DECLARE
    found int;
BEGIN
    SELECT corpus_id INTO found
    FROM corpus
    WHERE uri = corpus_of.corpus
        OR uri = (SELECT config->'run'->>'corpus_uri' FROM corpus_config WHERE name = corpus_of.corpus)
    ORDER BY published_at DESC NULLS LAST, corpus_id DESC LIMIT 1;
    IF found IS NULL THEN
        RAISE EXCEPTION 'there is no corpus %', quote_literal(left(corpus_of.corpus, 200))
            USING ERRCODE = 'no_data_found', HINT = 'SELECT uri FROM corpus lists them.';
    END IF;
    RETURN found;
END
$$;
COMMENT ON FUNCTION corpus_of IS 'The corpus_id of a corpus by its name or URI; the one that was published last, if it was read in several ways';

-- For pages of samples, each beginning where the last one ended: what is repeated most, what was nearly left out.
CREATE INDEX mixture_sample_by_copies ON mixture_sample (copies, weight, snapshot_id, shard_id, row);
CREATE INDEX mixture_sample_by_weight ON mixture_sample (weight, snapshot_id, shard_id, row);

COMMENT ON COLUMN sample_scores.corpus_id IS 'The corpus''s number in this database';
COMMENT ON COLUMN sample_scores.corpus IS 'URI';
COMMENT ON COLUMN sample_scores.snapshot IS 'Snapshot';
COMMENT ON COLUMN sample_scores.shard IS 'Path of the shard, relative to the corpus';
COMMENT ON COLUMN sample_scores.row IS 'Place in the shard, from 0';
COMMENT ON COLUMN sample_scores.doc_id IS 'The document''s own id, if it has one';
COMMENT ON COLUMN sample_scores.domain IS 'Domain';
COMMENT ON COLUMN sample_scores.n_tokens IS 'Tokens of the whole text';
COMMENT ON COLUMN sample_scores.n_bytes IS 'Bytes of the text in UTF-8';
COMMENT ON COLUMN sample_scores.content_hash IS '128-bit hash of the text; equal hashes are exact duplicates';
COMMENT ON COLUMN sample_scores.quality_model IS 'Identity of the quality model';
COMMENT ON COLUMN sample_scores.quality IS 'Overall quality, 0 to 10';
COMMENT ON COLUMN sample_scores.clarity IS 'Clarity of expression and accuracy; empty where the model has no dimensions';
COMMENT ON COLUMN sample_scores.completeness IS 'Completeness and coherence';
COMMENT ON COLUMN sample_scores.structure IS 'Structure and style';
COMMENT ON COLUMN sample_scores.credibility IS 'Content accuracy and credibility';
COMMENT ON COLUMN sample_scores.significance IS 'Significance';
COMMENT ON COLUMN sample_scores.knowledge IS 'Knowledge richness';
COMMENT ON COLUMN sample_scores.reasoning IS 'Logicality and analytical depth';
COMMENT ON COLUMN sample_scores.cluster_model IS 'Identity of the cluster model';
COMMENT ON COLUMN sample_scores.cluster IS 'Nearest cluster';
COMMENT ON COLUMN sample_scores.distance IS 'Cosine distance to its centroid';
COMMENT ON COLUMN sample_scores.is_noise IS 'Farther from the centroid than members are';
COMMENT ON COLUMN sample_scores.compactness IS 'Mean distance of the cluster''s members to its centroid';
COMMENT ON COLUMN sample_scores.separation IS 'Mean distance of its centroid to the others';
COMMENT ON COLUMN sample_scores.diversity IS 'compactness x separation of the cluster, normalised to 0..1';
COMMENT ON COLUMN sample_scores.tokenizer IS 'Tokenizer that n_tokens is by';
COMMENT ON COLUMN mixture_changes.mixture IS 'Name of the mixture';
COMMENT ON COLUMN mixture_changes.version IS 'Its version';
COMMENT ON COLUMN mixture_changes.parent_version IS 'The version it is compared with; empty for a first one';
COMMENT ON COLUMN mixture_changes.created_at IS 'When the version was recorded';
COMMENT ON COLUMN mixture_changes.entered IS 'Samples that it holds and its parent does not';
COMMENT ON COLUMN mixture_changes.departed IS 'Samples that its parent holds and it does not';
COMMENT ON COLUMN mixture_changes.more_copies IS 'Samples of both that have more copies now';
COMMENT ON COLUMN mixture_changes.fewer_copies IS 'Samples of both that have fewer copies now';
COMMENT ON COLUMN mixture_changes.same_copies IS 'Samples of both that have as many copies as before';
COMMENT ON COLUMN mixture_changes.domains IS 'By domain: tokens in the parent and in the version';
COMMENT ON COLUMN mixture_changes.crawls IS 'Snapshots that its parent was not of: documents and tokens there, and how many of them it holds';
