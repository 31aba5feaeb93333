CREATE TABLE score_rollup (
    documents bigint NOT NULL,
    tokens bigint NOT NULL,
    bytes bigint NOT NULL,
    quality_sum bigint NOT NULL,
    quality_square_sum bigint NOT NULL,
    snapshot_id int NOT NULL REFERENCES snapshot,
    quality_model_id int NOT NULL REFERENCES quality_model,
    domain_id int NOT NULL REFERENCES domain,
    quality_band int NOT NULL,
    PRIMARY KEY (snapshot_id, quality_model_id, domain_id, quality_band)
) WITH (fillfactor = 50);
COMMENT ON TABLE score_rollup IS 'Scored samples added up, in the transactions that load them. Sums are of ten-thousandths: integers, the same in every order';
COMMENT ON COLUMN score_rollup.documents IS 'Samples';
COMMENT ON COLUMN score_rollup.tokens IS 'Their tokens';
COMMENT ON COLUMN score_rollup.bytes IS 'Bytes of their texts in UTF-8';
COMMENT ON COLUMN score_rollup.quality_sum IS 'Sum of their qualities, each times 10,000 and rounded';
COMMENT ON COLUMN score_rollup.quality_square_sum IS 'Sum of the squares of these';
COMMENT ON COLUMN score_rollup.snapshot_id IS 'Snapshot';
COMMENT ON COLUMN score_rollup.quality_model_id IS 'Quality model version';
COMMENT ON COLUMN score_rollup.domain_id IS 'Domain';
COMMENT ON COLUMN score_rollup.quality_band IS 'Band of quality, 0 to 39: fortieths of the way from the model''s q_low to its q_high';

CREATE TABLE cluster_rollup (
    documents bigint NOT NULL,
    tokens bigint NOT NULL,
    noise bigint NOT NULL,
    distance_sum bigint NOT NULL,
    distance_square_sum bigint NOT NULL,
    cluster_model_id int NOT NULL REFERENCES cluster_model,
    snapshot_id int NOT NULL REFERENCES snapshot,
    domain_id int NOT NULL REFERENCES domain,
    cluster int NOT NULL,
    PRIMARY KEY (cluster_model_id, snapshot_id, domain_id, cluster)
) WITH (fillfactor = 50);
COMMENT ON TABLE cluster_rollup IS 'Assigned samples added up, in the transactions that load them. Sums are of ten-thousandths: integers, the same in every order';
COMMENT ON COLUMN cluster_rollup.documents IS 'Samples';
COMMENT ON COLUMN cluster_rollup.tokens IS 'Their tokens';
COMMENT ON COLUMN cluster_rollup.noise IS 'Those of them that are farther from the centroid than the cluster''s radius';
COMMENT ON COLUMN cluster_rollup.distance_sum IS 'Sum of their distances to the centroid, each times 10,000 and rounded';
COMMENT ON COLUMN cluster_rollup.distance_square_sum IS 'Sum of the squares of these';
COMMENT ON COLUMN cluster_rollup.cluster_model_id IS 'Cluster model';
COMMENT ON COLUMN cluster_rollup.snapshot_id IS 'Snapshot';
COMMENT ON COLUMN cluster_rollup.domain_id IS 'Domain';
COMMENT ON COLUMN cluster_rollup.cluster IS 'Nearest cluster';

CREATE TABLE mixture_rollup (
    documents bigint NOT NULL,
    tokens bigint NOT NULL,
    quality_sum bigint NOT NULL,
    quality_square_sum bigint NOT NULL,
    distance_sum bigint NOT NULL,
    distance_square_sum bigint NOT NULL,
    samples bigint NOT NULL,
    copies bigint NOT NULL,
    mixture_tokens bigint NOT NULL,
    mixture_quality_sum bigint NOT NULL,
    mixture_quality_square_sum bigint NOT NULL,
    mixture_distance_sum bigint NOT NULL,
    mixture_distance_square_sum bigint NOT NULL,
    mixture_id int NOT NULL REFERENCES mixture ON DELETE CASCADE,
    domain_id int NOT NULL REFERENCES domain,
    cluster int NOT NULL,
    quality_band int NOT NULL,
    diversity real NOT NULL,
    PRIMARY KEY (mixture_id, domain_id, cluster, quality_band)
);
COMMENT ON TABLE mixture_rollup IS 'What each mixture chose from and what it holds, added up. Sums are of ten-thousandths: integers, the same in every order';
COMMENT ON COLUMN mixture_rollup.documents IS 'Eligible samples of the source: scored, exact duplicates apart';
COMMENT ON COLUMN mixture_rollup.tokens IS 'Their tokens';
COMMENT ON COLUMN mixture_rollup.quality_sum IS 'Sum of their qualities, each times 10,000 and rounded';
COMMENT ON COLUMN mixture_rollup.quality_square_sum IS 'Sum of the squares of these';
COMMENT ON COLUMN mixture_rollup.distance_sum IS 'Sum of their distances to the centroid, each times 10,000 and rounded';
COMMENT ON COLUMN mixture_rollup.distance_square_sum IS 'Sum of the squares of these';
COMMENT ON COLUMN mixture_rollup.samples IS 'Those of them that the mixture holds';
COMMENT ON COLUMN mixture_rollup.copies IS 'Copies of these';
COMMENT ON COLUMN mixture_rollup.mixture_tokens IS 'Tokens of the copies';
COMMENT ON COLUMN mixture_rollup.mixture_quality_sum IS 'As quality_sum, over copies';
COMMENT ON COLUMN mixture_rollup.mixture_quality_square_sum IS 'As quality_square_sum, over copies';
COMMENT ON COLUMN mixture_rollup.mixture_distance_sum IS 'As distance_sum, over copies';
COMMENT ON COLUMN mixture_rollup.mixture_distance_square_sum IS 'As distance_square_sum, over copies';
COMMENT ON COLUMN mixture_rollup.mixture_id IS 'Mixture';
COMMENT ON COLUMN mixture_rollup.domain_id IS 'Domain';
COMMENT ON COLUMN mixture_rollup.cluster IS 'Nearest cluster of the mixture''s cluster model';
COMMENT ON COLUMN mixture_rollup.quality_band IS 'Band of quality under the mixture''s quality model, 0 to 39';
COMMENT ON COLUMN mixture_rollup.diversity IS 'Diversity of the cluster when the mixture was made, 0..1';

CREATE TABLE mixture_copy_count (
    samples bigint NOT NULL,
    tokens bigint NOT NULL,
    mixture_id int NOT NULL REFERENCES mixture ON DELETE CASCADE,
    snapshot_id int NOT NULL REFERENCES snapshot,
    domain_id int NOT NULL REFERENCES domain,
    copies int NOT NULL,
    PRIMARY KEY (mixture_id, snapshot_id, domain_id, copies)
);
COMMENT ON TABLE mixture_copy_count IS 'How many eligible samples of each snapshot and domain a mixture took how often';
COMMENT ON COLUMN mixture_copy_count.samples IS 'Samples with so many copies';
COMMENT ON COLUMN mixture_copy_count.tokens IS 'Their tokens, each sample''s once';
COMMENT ON COLUMN mixture_copy_count.mixture_id IS 'Mixture';
COMMENT ON COLUMN mixture_copy_count.snapshot_id IS 'Snapshot';
COMMENT ON COLUMN mixture_copy_count.domain_id IS 'Domain';
COMMENT ON COLUMN mixture_copy_count.copies IS 'Copies; 0 for what was passed over';

-- What is known of a sample is published with it, and stands beside it here: asking a mixture joins nothing.
ALTER TABLE mixture_sample
    ADD COLUMN domain_id int, ADD COLUMN n_tokens int, ADD COLUMN quality real, ADD COLUMN diversity real,
    ADD COLUMN cluster int;
COMMENT ON COLUMN mixture_sample.domain_id IS 'Domain; this and what follows is empty where a version is older than these columns and its scores were gone';
COMMENT ON COLUMN mixture_sample.n_tokens IS 'Tokens of the whole text, by the mixture''s tokenizer';
COMMENT ON COLUMN mixture_sample.quality IS 'Quality under the mixture''s quality model';
COMMENT ON COLUMN mixture_sample.diversity IS 'Diversity of its cluster when the mixture was made, 0..1';
COMMENT ON COLUMN mixture_sample.cluster IS 'Nearest cluster of the mixture''s cluster model';

UPDATE mixture_sample SET domain_id = sample.domain_id, n_tokens = sample.n_tokens, quality = quality_score.quality,
                          diversity = cluster.diversity, cluster = diversity_score.cluster
FROM mixture, sample, quality_score, diversity_score, cluster
WHERE mixture.mixture_id = mixture_sample.mixture_id
    AND (sample.snapshot_id, sample.shard_id, sample.row)
        = (mixture_sample.snapshot_id, mixture_sample.shard_id, mixture_sample.row)
    AND (quality_score.snapshot_id, quality_score.quality_model_id, quality_score.shard_id, quality_score.row)
        = (mixture_sample.snapshot_id, mixture.quality_model_id, mixture_sample.shard_id, mixture_sample.row)
    AND (diversity_score.cluster_model_id, diversity_score.snapshot_id, diversity_score.shard_id, diversity_score.row)
        = (mixture.cluster_model_id, mixture_sample.snapshot_id, mixture_sample.shard_id, mixture_sample.row)
    AND (cluster.cluster_model_id, cluster.cluster) = (mixture.cluster_model_id, diversity_score.cluster);

INSERT INTO score_rollup (snapshot_id, quality_model_id, domain_id, quality_band, documents, tokens, bytes, quality_sum,
                          quality_square_sum)
SELECT snapshot_id, quality_model_id, domain_id,
       least(39, greatest(0, floor((quality::float8 - q_low::float8) / (q_high::float8 - q_low::float8) * 40)))::int,
       count(*), sum(n_tokens), sum(n_bytes), sum(round(quality::float8 * 10000)::bigint),
       sum(round(quality::float8 * 10000)::bigint * round(quality::float8 * 10000)::bigint)
FROM quality_score JOIN sample USING (snapshot_id, shard_id, row) JOIN quality_model USING (quality_model_id)
GROUP BY 1, 2, 3, 4;

INSERT INTO cluster_rollup (cluster_model_id, snapshot_id, domain_id, cluster, documents, tokens, noise, distance_sum,
                            distance_square_sum)
SELECT cluster_model_id, snapshot_id, domain_id, cluster, count(*), sum(n_tokens), count(*) FILTER (WHERE is_noise),
       sum(round(distance::float8 * 10000)::bigint),
       sum(round(distance::float8 * 10000)::bigint * round(distance::float8 * 10000)::bigint)
FROM diversity_score JOIN sample USING (snapshot_id, shard_id, row)
GROUP BY 1, 2, 3, 4;

-- The sources of published mixtures, as they are now: what was replaced or scored since is told by counts that differ, below.
CREATE TEMP TABLE eligible ON COMMIT DROP AS
WITH numbered AS (
    SELECT mixture_id, snapshot_id, shard_id, row, domain_id, n_tokens,
           row_number() OVER (PARTITION BY mixture_id, content_hash
                              ORDER BY snapshot.name COLLATE "C", shard.path COLLATE "C", row) AS number
    FROM mixture
    JOIN mixture_snapshot USING (mixture_id)
    JOIN snapshot USING (snapshot_id)
    JOIN shard USING (snapshot_id)
    JOIN shard_score USING (shard_id, encoder_id, quality_model_id, etag)
    JOIN sample USING (snapshot_id, shard_id)
    WHERE superseded_at IS NULL AND state = 'done'
)
SELECT mixture_id, snapshot_id, shard_id, row, numbered.domain_id, numbered.n_tokens,
       diversity_score.cluster, cluster.diversity::real AS diversity,
       round(distance::float8 * 10000)::bigint AS distance, coalesce(mixture_sample.copies, 0) AS copies,
       round(quality_score.quality::float8 * 10000)::bigint AS scaled,
       least(39, greatest(0, floor((quality_score.quality::float8 - q_low::float8) / (q_high::float8 - q_low::float8) * 40)))::int
           AS quality_band
FROM numbered
JOIN mixture USING (mixture_id)
JOIN quality_model USING (quality_model_id)
JOIN quality_score USING (snapshot_id, shard_id, row, quality_model_id)
JOIN diversity_score USING (snapshot_id, shard_id, row, cluster_model_id)
JOIN cluster USING (cluster_model_id, cluster)
LEFT JOIN mixture_sample USING (mixture_id, snapshot_id, shard_id, row)
WHERE number = 1;

DELETE FROM eligible USING (
    SELECT mixture_id
    FROM mixture LEFT JOIN eligible USING (mixture_id)
    GROUP BY mixture_id
    HAVING (count(row), count(row) FILTER (WHERE eligible.copies > 0), coalesce(sum(eligible.copies), 0),
            coalesce(sum(n_tokens::bigint * eligible.copies), 0))
        <> (mixture.eligible, mixture.samples, mixture.copies, mixture.realised_tokens)
) AS other
WHERE eligible.mixture_id = other.mixture_id;

INSERT INTO mixture_rollup (
    mixture_id, domain_id, cluster, quality_band, diversity, documents, tokens, quality_sum, quality_square_sum, distance_sum,
    distance_square_sum, samples, copies, mixture_tokens, mixture_quality_sum, mixture_quality_square_sum, mixture_distance_sum,
    mixture_distance_square_sum
)
SELECT mixture_id, domain_id, cluster, quality_band, min(diversity), count(*), sum(n_tokens), sum(scaled), sum(scaled * scaled), sum(distance),
       sum(distance * distance), count(*) FILTER (WHERE copies > 0), sum(copies), sum(n_tokens::bigint * copies),
       sum(scaled * copies), sum(scaled * scaled * copies), sum(distance * copies), sum(distance * distance * copies)
FROM eligible
GROUP BY 1, 2, 3, 4;

INSERT INTO mixture_copy_count (mixture_id, snapshot_id, domain_id, copies, samples, tokens)
SELECT mixture_id, snapshot_id, domain_id, copies, count(*), sum(n_tokens) FROM eligible GROUP BY 1, 2, 3, 4;

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
COMMENT ON COLUMN mixture_copy_counts.copies IS 'Copies; 0 for what was passed over';
COMMENT ON COLUMN mixture_copy_counts.samples IS 'Samples with so many copies';
COMMENT ON COLUMN mixture_copy_counts.tokens IS 'Their tokens, each sample''s once';
COMMENT ON COLUMN mixture_copy_counts.mixture_tokens IS 'Tokens of their copies';
COMMENT ON COLUMN mixture_copy_counts.tokenizer IS 'Tokenizer that the tokens are by';

DROP VIEW mixture_samples;
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
