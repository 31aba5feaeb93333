DELETE FROM mixture_sample WHERE shard_id IN (SELECT shard_id FROM shard WHERE superseded_at IS NOT NULL);
DELETE FROM shard WHERE superseded_at IS NOT NULL;
DROP INDEX shard_current;
ALTER TABLE shard ADD CONSTRAINT shard_snapshot_id_path_key UNIQUE (snapshot_id, path);
ALTER TABLE shard DROP COLUMN superseded_at;
COMMENT ON TABLE shard IS 'Files of a snapshot, as they were when registered; a file that changes or vanishes later is an error';

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
JOIN sample
    ON sample.snapshot_id = mixture_sample.snapshot_id
    AND sample.shard_id = mixture_sample.shard_id
    AND sample.row = mixture_sample.row
JOIN domain ON domain.domain_id = sample.domain_id
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

COMMENT ON VIEW mixture_samples IS 'The samples of every published mixture, with their copies and the scores of the models that mixture was made with.';
