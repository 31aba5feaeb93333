ALTER TABLE shard ADD COLUMN superseded_at timestamptz;
COMMENT ON COLUMN shard.superseded_at IS 'When a corrected file of the same name replaced this one; null for the file that is there';
COMMENT ON TABLE shard IS 'Files of a snapshot, as they were when registered. A file that changed is another shard, and the earlier one is superseded';
ALTER TABLE shard DROP CONSTRAINT shard_snapshot_id_path_key;
CREATE UNIQUE INDEX shard_current ON shard (snapshot_id, path) WHERE superseded_at IS NULL;

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

COMMENT ON VIEW mixture_samples IS 'The samples of every published mixture, with their copies and the scores of the models that mixture was made with. Of a shard whose file was replaced since, only the row, copies and weight are left.';
