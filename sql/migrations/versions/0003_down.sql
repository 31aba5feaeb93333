ALTER TABLE shard DROP COLUMN stamp;

CREATE OR REPLACE VIEW sample_scores AS
SELECT
    corpus.corpus_id,
    corpus.uri AS corpus,
    snapshot.name AS snapshot,
    shard.path AS shard,
    sample.row,
    sample.doc_id,
    domain.name AS domain,
    sample.n_tokens,
    sample.n_bytes,
    sample.content_hash,
    quality_model.quality_model_key AS quality_model,
    quality_score.quality,
    quality_score.clarity,
    quality_score.completeness,
    quality_score.structure,
    quality_score.credibility,
    quality_score.significance,
    quality_score.knowledge,
    quality_score.reasoning,
    cluster_model.cluster_model_key AS cluster_model,
    diversity_score.cluster,
    diversity_score.distance,
    diversity_score.is_noise,
    cluster.compactness,
    cluster.separation,
    cluster.diversity
FROM sample
JOIN snapshot ON snapshot.snapshot_id = sample.snapshot_id
JOIN corpus ON corpus.corpus_id = snapshot.corpus_id
JOIN shard ON shard.shard_id = sample.shard_id
JOIN domain ON domain.domain_id = sample.domain_id
LEFT JOIN quality_model ON quality_model.quality_model_id = corpus.current_quality_model
LEFT JOIN quality_score
    ON quality_score.snapshot_id = sample.snapshot_id
    AND quality_score.quality_model_id = corpus.current_quality_model
    AND quality_score.shard_id = sample.shard_id
    AND quality_score.row = sample.row
LEFT JOIN cluster_model ON cluster_model.cluster_model_id = corpus.current_cluster_model
LEFT JOIN diversity_score
    ON diversity_score.cluster_model_id = corpus.current_cluster_model
    AND diversity_score.snapshot_id = sample.snapshot_id
    AND diversity_score.shard_id = sample.shard_id
    AND diversity_score.row = sample.row
LEFT JOIN cluster
    ON cluster.cluster_model_id = diversity_score.cluster_model_id
    AND cluster.cluster = diversity_score.cluster;

CREATE OR REPLACE VIEW mixture_samples AS
SELECT
    mixture.name AS mixture,
    mixture.version,
    snapshot.name AS snapshot,
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
JOIN mixture ON mixture.mixture_id = mixture_sample.mixture_id
JOIN snapshot ON snapshot.snapshot_id = mixture_sample.snapshot_id
JOIN shard ON shard.shard_id = mixture_sample.shard_id
LEFT JOIN sample
    ON sample.snapshot_id = mixture_sample.snapshot_id
    AND sample.shard_id = mixture_sample.shard_id
    AND sample.row = mixture_sample.row
LEFT JOIN domain ON domain.domain_id = sample.domain_id
LEFT JOIN quality_score
    ON quality_score.snapshot_id = mixture_sample.snapshot_id
    AND quality_score.quality_model_id = mixture.quality_model_id
    AND quality_score.shard_id = mixture_sample.shard_id
    AND quality_score.row = mixture_sample.row
LEFT JOIN diversity_score
    ON diversity_score.cluster_model_id = mixture.cluster_model_id
    AND diversity_score.snapshot_id = mixture_sample.snapshot_id
    AND diversity_score.shard_id = mixture_sample.shard_id
    AND diversity_score.row = mixture_sample.row
LEFT JOIN cluster
    ON cluster.cluster_model_id = diversity_score.cluster_model_id
    AND cluster.cluster = diversity_score.cluster;
