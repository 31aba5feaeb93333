CREATE TABLE mixture_phase (
    mixture_id int NOT NULL REFERENCES mixture ON DELETE CASCADE,
    phase int NOT NULL CHECK (phase > 0),
    name text COLLATE "C" NOT NULL,
    policy text NOT NULL,
    parameters jsonb NOT NULL,
    max_copies int NOT NULL,
    kappa double precision NOT NULL,
    budget_tokens bigint NOT NULL,
    realised_tokens bigint NOT NULL,
    samples bigint NOT NULL,
    copies bigint NOT NULL,
    held_back bigint NOT NULL,
    PRIMARY KEY (mixture_id, phase)
);
COMMENT ON TABLE mixture_phase IS 'Phases of mixtures, in the order in which they are read; a mixture without phases has none here';
COMMENT ON COLUMN mixture_phase.mixture_id IS 'Mixture';
COMMENT ON COLUMN mixture_phase.phase IS 'Number of the phase, from 1';
COMMENT ON COLUMN mixture_phase.name IS 'Name of the phase';
COMMENT ON COLUMN mixture_phase.policy IS 'Policy that made its weights';
COMMENT ON COLUMN mixture_phase.parameters IS 'The policy''s parameters';
COMMENT ON COLUMN mixture_phase.max_copies IS 'Most copies of a sample in it';
COMMENT ON COLUMN mixture_phase.kappa IS 'Scale of its weights';
COMMENT ON COLUMN mixture_phase.budget_tokens IS 'Its share of the budget, and what earlier phases left of theirs';
COMMENT ON COLUMN mixture_phase.realised_tokens IS 'Tokens it holds, copies counted';
COMMENT ON COLUMN mixture_phase.samples IS 'Distinct samples it holds';
COMMENT ON COLUMN mixture_phase.copies IS 'Copies of samples it holds';
COMMENT ON COLUMN mixture_phase.held_back IS 'Samples with fewer copies than it wants, because earlier phases had spent them';

ALTER TABLE mixture_sample ADD COLUMN phase_copies int[];
COMMENT ON COLUMN mixture_sample.phase_copies IS 'Copies in each phase: phase_copies[1] are those in the first; null without phases';

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
    mixed.diversity,
    mixture.tokenizer,
    mixed.phase_copies
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
        mixture_sample.diversity,
        mixture_sample.phase_copies
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
COMMENT ON COLUMN mixture_samples.phase_copies IS 'Copies in each phase, phase_copies[1] in the first; null without phases';
