ALTER TABLE shard ADD COLUMN stamp text;
COMMENT ON COLUMN shard.stamp IS 'Modification time of a file in a directory: while it stays, the file is not read again for its etag. Null in S3';

-- A snapshot is asked for by its name, which says nothing about partitions while the query is planned. So each view finds the
-- snapshots (and mixtures) first, and what is LATERAL runs once for each of them: there their ids are known, and Postgres leaves
-- out all other partitions. ORDER BY sorts nothing, because its value is one and the same in each run; it keeps the planner from
-- dissolving the subquery into one join over all partitions. Conditions on its columns still reach the tables in it.

CREATE OR REPLACE VIEW sample_scores AS
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
    scored.diversity
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
) AS scored;

CREATE OR REPLACE VIEW mixture_samples AS
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
    mixed.diversity
FROM mixture
JOIN mixture_snapshot ON mixture_snapshot.mixture_id = mixture.mixture_id
JOIN snapshot ON snapshot.snapshot_id = mixture_snapshot.snapshot_id
CROSS JOIN LATERAL (
    SELECT
        shard.path AS shard,
        mixture_sample.row,
        sample.doc_id,
        domain.name AS domain,
        sample.n_tokens,
        mixture_sample.copies,
        mixture_sample.weight,
        quality_score.quality,
        diversity_score.cluster,
        diversity_score.is_noise,
        cluster.diversity
    FROM mixture_sample
    JOIN shard ON shard.shard_id = mixture_sample.shard_id
    LEFT JOIN sample
        ON sample.snapshot_id = snapshot.snapshot_id
        AND sample.shard_id = mixture_sample.shard_id
        AND sample.row = mixture_sample.row
    LEFT JOIN domain ON domain.domain_id = sample.domain_id
    LEFT JOIN quality_score
        ON quality_score.snapshot_id = snapshot.snapshot_id
        AND quality_score.quality_model_id = mixture.quality_model_id
        AND quality_score.shard_id = mixture_sample.shard_id
        AND quality_score.row = mixture_sample.row
    LEFT JOIN diversity_score
        ON diversity_score.cluster_model_id = mixture.cluster_model_id
        AND diversity_score.snapshot_id = snapshot.snapshot_id
        AND diversity_score.shard_id = mixture_sample.shard_id
        AND diversity_score.row = mixture_sample.row
    LEFT JOIN cluster
        ON cluster.cluster_model_id = mixture.cluster_model_id
        AND cluster.cluster = diversity_score.cluster
    WHERE mixture_sample.mixture_id = mixture.mixture_id
        AND mixture_sample.snapshot_id = snapshot.snapshot_id
    ORDER BY mixture.mixture_id
) AS mixed;
