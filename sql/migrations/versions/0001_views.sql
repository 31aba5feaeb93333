-- The views, and functions that find what they are asked about.
--
-- A snapshot is asked for by its name, which says nothing about partitions while the query is planned. So each view of samples finds
-- the snapshots (and mixtures) first, and what is LATERAL runs once for each of them: there their ids are known, and Postgres leaves
-- out all other partitions. ORDER BY sorts nothing, because its value is one and the same in each run; it keeps the planner from
-- dissolving the subquery into one join over all partitions. Conditions on its columns still reach the tables in it.

CREATE VIEW sample_scores AS
SELECT
    corpus.corpus_id,
    corpus.uri AS corpus,
    snapshot.name AS snapshot,
    scored.shard,
    scored.row,
    scored.doc_id,
    scored.domain,
    scored.n_tokens,
    scored.n_bytes,
    scored.content_hash,
    quality_model.quality_model_key AS quality_model,
    scored.quality,
    scored.clarity,
    scored.completeness,
    scored.structure,
    scored.credibility,
    scored.significance,
    scored.knowledge,
    scored.reasoning,
    cluster_model.cluster_model_key AS cluster_model,
    scored.cluster,
    scored.distance,
    scored.is_noise,
    scored.compactness,
    scored.separation,
    scored.diversity,
    corpus.tokenizer,
    scored.content_type,
    scored.language
FROM snapshot
JOIN corpus ON corpus.corpus_id = snapshot.corpus_id
LEFT JOIN quality_model ON quality_model.quality_model_id = corpus.current_quality_model
LEFT JOIN cluster_model ON cluster_model.cluster_model_id = corpus.current_cluster_model
CROSS JOIN LATERAL (
    SELECT
        shard.path AS shard,
        sample.row,
        sample.doc_id,
        domain.name AS domain,
        sample.n_tokens,
        sample.n_bytes,
        sample.content_hash,
        sample.content_type,
        sample.language,
        quality_score.quality,
        quality_score.clarity,
        quality_score.completeness,
        quality_score.structure,
        quality_score.credibility,
        quality_score.significance,
        quality_score.knowledge,
        quality_score.reasoning,
        diversity_score.cluster,
        diversity_score.distance,
        diversity_score.is_noise,
        cluster.compactness,
        cluster.separation,
        cluster.diversity
    FROM sample
    JOIN shard ON shard.shard_id = sample.shard_id
    JOIN domain ON domain.domain_id = sample.domain_id
    LEFT JOIN quality_score
        ON quality_score.snapshot_id = snapshot.snapshot_id
        AND quality_score.quality_model_id = corpus.current_quality_model
        AND quality_score.shard_id = sample.shard_id
        AND quality_score.row = sample.row
    LEFT JOIN diversity_score
        ON diversity_score.cluster_model_id = corpus.current_cluster_model
        AND diversity_score.snapshot_id = snapshot.snapshot_id
        AND diversity_score.shard_id = sample.shard_id
        AND diversity_score.row = sample.row
    LEFT JOIN cluster
        ON cluster.cluster_model_id = corpus.current_cluster_model
        AND cluster.cluster = diversity_score.cluster
    WHERE sample.snapshot_id = snapshot.snapshot_id
    ORDER BY snapshot.snapshot_id
) AS scored
-- Of the corpora at one place, which differ in tokenizer or reader, the one of the last published mixture.
WHERE NOT EXISTS (
    SELECT FROM corpus AS other
    WHERE other.uri = corpus.uri
        AND (coalesce(other.published_at, '-infinity'), other.corpus_id)
            > (coalesce(corpus.published_at, '-infinity'), corpus.corpus_id)
);
COMMENT ON VIEW sample_scores IS 'Every sample with the scores of its corpus''s current models. A sample that is scored but not yet assigned has no cluster.';
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
COMMENT ON COLUMN sample_scores.quality IS 'Overall quality, from q_low to q_high of its quality model';
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
COMMENT ON COLUMN sample_scores.content_type IS 'Kind of text: prose, code, markup or list';
COMMENT ON COLUMN sample_scores.language IS 'Language, a code of ISO 639; und where it can not be told';

CREATE VIEW mixture_samples AS
SELECT
    mixture.name AS mixture,
    mixture.version,
    snapshot.name AS snapshot,
    mixed.shard,
    mixed.row,
    mixed.doc_id,
    mixed.domain,
    mixed.n_tokens,
    mixed.copies,
    mixed.weight,
    mixed.quality,
    mixed.cluster,
    mixed.is_noise,
    mixed.diversity,
    mixture.tokenizer
FROM mixture
JOIN mixture_snapshot ON mixture_snapshot.mixture_id = mixture.mixture_id
JOIN snapshot ON snapshot.snapshot_id = mixture_snapshot.snapshot_id
CROSS JOIN LATERAL (
    SELECT
        shard.path AS shard,
        mixture_sample.row,
        sample.doc_id,
        domain.name AS domain,
        mixture_sample.n_tokens,
        mixture_sample.copies,
        mixture_sample.weight,
        mixture_sample.quality,
        mixture_sample.cluster,
        diversity_score.is_noise,
        mixture_sample.diversity
    FROM mixture_sample
    JOIN shard ON shard.shard_id = mixture_sample.shard_id
    LEFT JOIN domain ON domain.domain_id = mixture_sample.domain_id
    LEFT JOIN sample
        ON sample.snapshot_id = snapshot.snapshot_id
        AND sample.shard_id = mixture_sample.shard_id
        AND sample.row = mixture_sample.row
    LEFT JOIN diversity_score
        ON diversity_score.cluster_model_id = mixture.cluster_model_id
        AND diversity_score.snapshot_id = snapshot.snapshot_id
        AND diversity_score.shard_id = mixture_sample.shard_id
        AND diversity_score.row = mixture_sample.row
    WHERE mixture_sample.mixture_id = mixture.mixture_id
        AND mixture_sample.snapshot_id = snapshot.snapshot_id
    ORDER BY mixture.mixture_id
) AS mixed;
COMMENT ON VIEW mixture_samples IS 'Samples of every published mixture, with the scores it was made with; a sample that is not in it has no row';
COMMENT ON COLUMN mixture_samples.mixture IS 'Name of the mixture';
COMMENT ON COLUMN mixture_samples.version IS 'Its version';
COMMENT ON COLUMN mixture_samples.snapshot IS 'Snapshot';
COMMENT ON COLUMN mixture_samples.shard IS 'Path of the shard, relative to the corpus';
COMMENT ON COLUMN mixture_samples.row IS 'Place in the shard, from 0';
COMMENT ON COLUMN mixture_samples.doc_id IS 'The document''s own id, if it has one';
COMMENT ON COLUMN mixture_samples.domain IS 'Domain';
COMMENT ON COLUMN mixture_samples.n_tokens IS 'Tokens of the whole text';
COMMENT ON COLUMN mixture_samples.copies IS 'Copies of the sample, at least 1';
COMMENT ON COLUMN mixture_samples.weight IS 'Weight the policy gave it';
COMMENT ON COLUMN mixture_samples.quality IS 'Quality under the mixture''s quality model';
COMMENT ON COLUMN mixture_samples.cluster IS 'Nearest cluster of the mixture''s cluster model';
COMMENT ON COLUMN mixture_samples.is_noise IS 'Farther from the centroid than members are; empty if the scores are gone';
COMMENT ON COLUMN mixture_samples.diversity IS 'Diversity of the cluster, 0..1';
COMMENT ON COLUMN mixture_samples.tokenizer IS 'Tokenizer that n_tokens is by';

CREATE VIEW mixture_changes AS
SELECT mixture.name AS mixture, mixture.version, parent.version AS parent_version, mixture.created_at,
       entered, departed, more_copies, fewer_copies, same_copies, domains, crawls
FROM mixture_change
JOIN mixture USING (mixture_id)
LEFT JOIN mixture AS parent ON parent.mixture_id = parent_mixture_id;
COMMENT ON VIEW mixture_changes IS 'mixture_change with the names and numbers of the versions';
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

CREATE VIEW score_rollups AS
SELECT corpus.corpus_id, corpus.uri AS corpus, snapshot.name AS snapshot, domain.name AS domain,
       quality_model_key AS quality_model, quality_model_id IS NOT DISTINCT FROM current_quality_model AS is_current,
       quality_band, q_low + (q_high - q_low) / 40 * quality_band AS quality_from,
       documents, tokens, bytes, quality_sum / 10000.0::float8 AS quality_sum,
       quality_square_sum / 1e8::float8 AS quality_square_sum, tokenizer
FROM score_rollup
JOIN snapshot USING (snapshot_id)
JOIN corpus USING (corpus_id)
JOIN domain USING (domain_id)
JOIN quality_model USING (quality_model_id);
COMMENT ON VIEW score_rollups IS 'Samples by snapshot, domain and band of quality, from score_rollup: counts of millions are read from thousands of rows';
COMMENT ON COLUMN score_rollups.corpus_id IS 'The corpus''s number in this database';
COMMENT ON COLUMN score_rollups.corpus IS 'URI';
COMMENT ON COLUMN score_rollups.snapshot IS 'Snapshot';
COMMENT ON COLUMN score_rollups.domain IS 'Domain';
COMMENT ON COLUMN score_rollups.quality_model IS 'Identity of the quality model';
COMMENT ON COLUMN score_rollups.is_current IS 'Whether it is the one that sample_scores shows';
COMMENT ON COLUMN score_rollups.quality_band IS 'Band of quality, 0 to 39';
COMMENT ON COLUMN score_rollups.quality_from IS 'The quality at which the band begins';
COMMENT ON COLUMN score_rollups.documents IS 'Samples';
COMMENT ON COLUMN score_rollups.tokens IS 'Their tokens';
COMMENT ON COLUMN score_rollups.bytes IS 'Bytes of their texts';
COMMENT ON COLUMN score_rollups.quality_sum IS 'Sum of their qualities: over documents it is the mean';
COMMENT ON COLUMN score_rollups.quality_square_sum IS 'Sum of the squares of their qualities';
COMMENT ON COLUMN score_rollups.tokenizer IS 'Tokenizer that the tokens are by';

CREATE VIEW cluster_rollups AS
SELECT corpus.corpus_id, corpus.uri AS corpus, snapshot.name AS snapshot, domain.name AS domain,
       cluster_model_key AS cluster_model, cluster_model_id IS NOT DISTINCT FROM current_cluster_model AS is_current,
       cluster, compactness, separation, diversity,
       documents, tokens, noise, distance_sum / 10000.0::float8 AS distance_sum,
       distance_square_sum / 1e8::float8 AS distance_square_sum, tokenizer
FROM cluster_rollup
JOIN snapshot USING (snapshot_id)
JOIN corpus USING (corpus_id)
JOIN domain USING (domain_id)
JOIN cluster_model USING (cluster_model_id)
LEFT JOIN cluster USING (cluster_model_id, cluster);
COMMENT ON VIEW cluster_rollups IS 'Samples by snapshot, domain and cluster, from cluster_rollup, with the cluster''s measures';
COMMENT ON COLUMN cluster_rollups.corpus_id IS 'The corpus''s number in this database';
COMMENT ON COLUMN cluster_rollups.corpus IS 'URI';
COMMENT ON COLUMN cluster_rollups.snapshot IS 'Snapshot';
COMMENT ON COLUMN cluster_rollups.domain IS 'Domain';
COMMENT ON COLUMN cluster_rollups.cluster_model IS 'Identity of the cluster model';
COMMENT ON COLUMN cluster_rollups.is_current IS 'Whether it is the one that sample_scores shows';
COMMENT ON COLUMN cluster_rollups.cluster IS 'Number of the cluster in its model';
COMMENT ON COLUMN cluster_rollups.compactness IS 'Mean distance of the cluster''s members to its centroid';
COMMENT ON COLUMN cluster_rollups.separation IS 'Mean distance of its centroid to the others';
COMMENT ON COLUMN cluster_rollups.diversity IS 'compactness x separation, normalised to 0..1';
COMMENT ON COLUMN cluster_rollups.documents IS 'Samples';
COMMENT ON COLUMN cluster_rollups.tokens IS 'Their tokens';
COMMENT ON COLUMN cluster_rollups.noise IS 'Those of them that are farther from the centroid than members are';
COMMENT ON COLUMN cluster_rollups.distance_sum IS 'Sum of their distances to the centroid: over documents it is the mean';
COMMENT ON COLUMN cluster_rollups.distance_square_sum IS 'Sum of the squares of these distances';
COMMENT ON COLUMN cluster_rollups.tokenizer IS 'Tokenizer that the tokens are by';

CREATE VIEW mixture_rollups AS
SELECT mixture.name AS mixture, mixture.version, domain.name AS domain, cluster, diversity,
       quality_band, q_low + (q_high - q_low) / 40 * quality_band AS quality_from,
       mixture_rollup.documents, tokens, quality_sum / 10000.0::float8 AS quality_sum,
       quality_square_sum / 1e8::float8 AS quality_square_sum,
       distance_sum / 10000.0::float8 AS distance_sum, distance_square_sum / 1e8::float8 AS distance_square_sum,
       mixture_rollup.samples, mixture_rollup.copies, mixture_tokens,
       mixture_quality_sum / 10000.0::float8 AS mixture_quality_sum,
       mixture_quality_square_sum / 1e8::float8 AS mixture_quality_square_sum,
       mixture_distance_sum / 10000.0::float8 AS mixture_distance_sum,
       mixture_distance_square_sum / 1e8::float8 AS mixture_distance_square_sum, tokenizer
FROM mixture
JOIN mixture_rollup USING (mixture_id)
JOIN domain USING (domain_id)
JOIN quality_model USING (quality_model_id);
COMMENT ON VIEW mixture_rollups IS 'What each version of a mixture chose from and holds, by domain, cluster and band of quality, from mixture_rollup';
COMMENT ON COLUMN mixture_rollups.mixture IS 'Name of the mixture';
COMMENT ON COLUMN mixture_rollups.version IS 'Its version';
COMMENT ON COLUMN mixture_rollups.domain IS 'Domain';
COMMENT ON COLUMN mixture_rollups.cluster IS 'Nearest cluster';
COMMENT ON COLUMN mixture_rollups.diversity IS 'Diversity of the cluster, 0..1';
COMMENT ON COLUMN mixture_rollups.quality_band IS 'Band of quality, 0 to 39';
COMMENT ON COLUMN mixture_rollups.quality_from IS 'The quality at which the band begins';
COMMENT ON COLUMN mixture_rollups.documents IS 'Eligible samples';
COMMENT ON COLUMN mixture_rollups.tokens IS 'Their tokens';
COMMENT ON COLUMN mixture_rollups.quality_sum IS 'Sum of their qualities';
COMMENT ON COLUMN mixture_rollups.quality_square_sum IS 'Sum of the squares of these';
COMMENT ON COLUMN mixture_rollups.distance_sum IS 'Sum of their distances to the centroid';
COMMENT ON COLUMN mixture_rollups.distance_square_sum IS 'Sum of the squares of these';
COMMENT ON COLUMN mixture_rollups.samples IS 'Those of them that the mixture holds';
COMMENT ON COLUMN mixture_rollups.copies IS 'Copies of these';
COMMENT ON COLUMN mixture_rollups.mixture_tokens IS 'Tokens of the copies';
COMMENT ON COLUMN mixture_rollups.mixture_quality_sum IS 'Sum of the qualities of the copies';
COMMENT ON COLUMN mixture_rollups.mixture_quality_square_sum IS 'Sum of the squares of these';
COMMENT ON COLUMN mixture_rollups.mixture_distance_sum IS 'Sum of the distances of the copies to the centroid';
COMMENT ON COLUMN mixture_rollups.mixture_distance_square_sum IS 'Sum of the squares of these';
COMMENT ON COLUMN mixture_rollups.tokenizer IS 'Tokenizer that the tokens are by';

CREATE VIEW mixture_copy_counts AS
SELECT mixture.name AS mixture, mixture.version, snapshot.name AS snapshot, domain.name AS domain,
       mixture_copy_count.copies, mixture_copy_count.samples, tokens, tokens * mixture_copy_count.copies AS mixture_tokens, tokenizer
FROM mixture
JOIN mixture_copy_count USING (mixture_id)
JOIN snapshot USING (snapshot_id)
JOIN domain USING (domain_id);
COMMENT ON VIEW mixture_copy_counts IS 'How many samples of each snapshot and domain each version of a mixture took how often, from mixture_copy_count';
COMMENT ON COLUMN mixture_copy_counts.mixture IS 'Name of the mixture';
COMMENT ON COLUMN mixture_copy_counts.version IS 'Its version';
COMMENT ON COLUMN mixture_copy_counts.snapshot IS 'Snapshot';
COMMENT ON COLUMN mixture_copy_counts.domain IS 'Domain';
COMMENT ON COLUMN mixture_copy_counts.copies IS 'Copies; 0 for a sample that was not taken';
COMMENT ON COLUMN mixture_copy_counts.samples IS 'Samples with so many copies';
COMMENT ON COLUMN mixture_copy_counts.tokens IS 'Their tokens, each sample''s once';
COMMENT ON COLUMN mixture_copy_counts.mixture_tokens IS 'Tokens of their copies';
COMMENT ON COLUMN mixture_copy_counts.tokenizer IS 'Tokenizer that the tokens are by';

CREATE VIEW run_cost AS
SELECT run, step, count(*) AS tasks, sum(documents)::bigint AS documents, sum(seconds) AS core_seconds,
       sum(CASE WHEN on_gpu THEN seconds ELSE 0 END) AS gpu_seconds,
       min(ended_at - make_interval(secs => seconds)) AS began_at, max(ended_at) AS ended_at
FROM (
    SELECT run, 'score' AS step, scored AS documents, seconds, spec->>'device' = 'cuda' AS on_gpu, done_at AS ended_at
    FROM block_score JOIN encoder USING (encoder_id)
    UNION ALL
    SELECT run, 'fit_diversity', fit_rows, seconds, false, created_at FROM cluster_model
    UNION ALL
    SELECT run, 'assign', rows, seconds, false, updated_at FROM shard_assignment WHERE state = 'done'
) AS task
WHERE run IS NOT NULL
GROUP BY run, step;
COMMENT ON VIEW run_cost IS 'What each run had workers do, by step; a run that was repeated under its name adds up';
COMMENT ON COLUMN run_cost.run IS 'The Airflow run, or the mixture''s name of a run on the command line';
COMMENT ON COLUMN run_cost.step IS 'score, fit_diversity or assign';
COMMENT ON COLUMN run_cost.tasks IS 'Blocks, fits, shards';
COMMENT ON COLUMN run_cost.documents IS 'Documents of these';
COMMENT ON COLUMN run_cost.core_seconds IS 'Time of one worker, which has one core';
COMMENT ON COLUMN run_cost.gpu_seconds IS 'Of these, those of a worker whose encoder was on its GPU';
COMMENT ON COLUMN run_cost.began_at IS 'When the first task began';
COMMENT ON COLUMN run_cost.ended_at IS 'When the last one ended';

CREATE VIEW scoring_progress AS
SELECT corpus, snapshot, domain, encoder, encoder_key, quality_model,
       count(DISTINCT shard_id) AS shards, count(block) AS blocks, count(done_at) AS blocks_done,
       sum(scored) AS documents, sum(quarantined) AS quarantined,
       sum(tokens)::bigint AS tokens, sum(text_bytes)::bigint AS text_bytes,
       sum(seconds) AS core_seconds,
       sum(scored) / nullif(sum(seconds), 0) AS documents_per_core_second,
       sum(tokens) / nullif(sum(seconds), 0)::numeric AS tokens_per_core_second,
       sum(text_bytes) / nullif(sum(seconds), 0)::numeric AS text_bytes_per_core_second,
       sum(seconds) * sum(n_bytes) FILTER (WHERE done_at IS NULL) / nullif(sum(n_bytes) FILTER (WHERE done_at IS NOT NULL), 0)
           ::double precision AS core_seconds_left,
       max(done_at) AS last_done_at, tokenizer, sum(encoder_tokens)::bigint AS encoder_tokens
FROM (
    SELECT corpus.corpus_id, corpus.uri AS corpus, snapshot.name AS snapshot, shard.shard_id, encoder.spec->>'name' AS encoder,
           encoder_key, quality_model_key AS quality_model, tokenizer,
           CASE WHEN corpus.reader->>'domain_field' IS NULL
                THEN split_part(shard.path, '/', coalesce((corpus.reader->>'domain_path_index')::int, 1) + 1) END AS domain,
           block.block, block.n_bytes, block_score.scored, block_score.quarantined, block_score.tokens, block_score.encoder_tokens,
           block_score.text_bytes, block_score.seconds, block_score.done_at
    FROM shard_score
    JOIN shard USING (shard_id, etag)
    JOIN snapshot USING (snapshot_id)
    JOIN corpus USING (corpus_id)
    JOIN encoder USING (encoder_id)
    JOIN quality_model USING (quality_model_id)
    LEFT JOIN block USING (shard_id)
    LEFT JOIN block_score USING (shard_id, encoder_id, quality_model_id, block)
    WHERE superseded_at IS NULL
) AS planned
GROUP BY corpus_id, corpus, snapshot, domain, encoder, encoder_key, quality_model, tokenizer;
COMMENT ON VIEW scoring_progress IS 'How far scoring is, by snapshot and domain, for each pair of encoder and quality model';
COMMENT ON COLUMN scoring_progress.corpus IS 'URI';
COMMENT ON COLUMN scoring_progress.snapshot IS 'Snapshot';
COMMENT ON COLUMN scoring_progress.domain IS 'As the path names it; null where it is a field of each record';
COMMENT ON COLUMN scoring_progress.encoder IS 'Name of the encoder';
COMMENT ON COLUMN scoring_progress.encoder_key IS 'Identity of the encoder';
COMMENT ON COLUMN scoring_progress.quality_model IS 'Identity of the quality model';
COMMENT ON COLUMN scoring_progress.shards IS 'Shards that were begun';
COMMENT ON COLUMN scoring_progress.blocks IS 'Blocks they are cut into so far';
COMMENT ON COLUMN scoring_progress.blocks_done IS 'Blocks that are scored';
COMMENT ON COLUMN scoring_progress.documents IS 'Documents of these';
COMMENT ON COLUMN scoring_progress.quarantined IS 'Records of these that were set aside';
COMMENT ON COLUMN scoring_progress.tokens IS 'Tokens of the documents';
COMMENT ON COLUMN scoring_progress.text_bytes IS 'Bytes of their texts';
COMMENT ON COLUMN scoring_progress.core_seconds IS 'Time the workers took';
COMMENT ON COLUMN scoring_progress.documents_per_core_second IS 'Documents a second of one worker';
COMMENT ON COLUMN scoring_progress.tokens_per_core_second IS 'Tokens a second of one worker';
COMMENT ON COLUMN scoring_progress.text_bytes_per_core_second IS 'Bytes a second of one worker';
COMMENT ON COLUMN scoring_progress.core_seconds_left IS 'Time one worker would take for the rest, at the pace so far, by bytes; null before the first block';
COMMENT ON COLUMN scoring_progress.last_done_at IS 'When the last block was done';
COMMENT ON COLUMN scoring_progress.tokenizer IS 'Tokenizer that the tokens are by';
COMMENT ON COLUMN scoring_progress.encoder_tokens IS 'Tokens of the documents by the encoder''s own tokenizer';

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

CREATE FUNCTION quality_model_of(asked text) RETURNS int
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
DECLARE
    asked_key text := regexp_replace(asked, '^.*@', '');
    asked_name text := left(asked, -1 - length(asked_key));
    found int;
BEGIN
    SELECT quality_model_id INTO found
    FROM quality_model
    WHERE name = asked
        OR (length(asked_key) >= 8 AND starts_with(quality_model_key, asked_key) AND (asked_name = '' OR name = asked_name))
    ORDER BY name = asked DESC, quality_model_id DESC LIMIT 1;
    IF found IS NULL THEN
        RAISE EXCEPTION 'there is no quality model %', quote_literal(left(asked, 100))
            USING ERRCODE = 'no_data_found', HINT = 'SELECT name, quality_model_key FROM quality_model lists them.';
    END IF;
    RETURN found;
END
$$;
COMMENT ON FUNCTION quality_model_of IS 'The quality_model_id of a quality model, by name (the newest), key or name@key. An error if there is none';
