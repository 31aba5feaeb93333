-- Why a document has its number of copies in a mixture: its quality by dimension, its cluster, its weight; 0 copies: not in it.
-- Parameters: mixture, shard, row, version=
SELECT snapshot.name AS snapshot, path AS shard, sample.row, doc_id, domain.name AS domain, sample.n_tokens,
       coalesce(content_type, 'und') AS content_type, coalesce(language, 'und') AS language,
       quality_model.name AS quality_model, q_low AS quality_low, q_high AS quality_high, quality_score.quality, clarity, completeness, structure, credibility, significance, knowledge, reasoning,
       diversity_score.cluster, distance, is_noise, compactness, separation,
       coalesce(diversity_score.diversity, cluster.diversity) AS diversity, cluster.diversity AS cluster_diversity,
       weight, coalesce(mixture_sample.copies, 0) AS copies, phase_copies
FROM mixture
JOIN quality_model USING (quality_model_id)
JOIN mixture_snapshot USING (mixture_id)
JOIN snapshot USING (snapshot_id)
JOIN shard USING (snapshot_id)
CROSS JOIN LATERAL (
    SELECT * FROM sample
    WHERE sample.snapshot_id = snapshot.snapshot_id AND sample.shard_id = shard.shard_id AND sample.row = :'row'::bigint
) AS sample
JOIN domain USING (domain_id)
LEFT JOIN quality_score
    ON quality_score.snapshot_id = snapshot.snapshot_id AND quality_score.quality_model_id = mixture.quality_model_id
    AND quality_score.shard_id = shard.shard_id AND quality_score.row = :'row'::bigint
LEFT JOIN diversity_score
    ON diversity_score.cluster_model_id = mixture.cluster_model_id AND diversity_score.snapshot_id = snapshot.snapshot_id
    AND diversity_score.shard_id = shard.shard_id AND diversity_score.row = :'row'::bigint
LEFT JOIN cluster
    ON cluster.cluster_model_id = mixture.cluster_model_id AND cluster.cluster = diversity_score.cluster
LEFT JOIN mixture_sample
    ON mixture_sample.mixture_id = mixture.mixture_id AND mixture_sample.snapshot_id = snapshot.snapshot_id
    AND mixture_sample.shard_id = shard.shard_id AND mixture_sample.row = :'row'::bigint
WHERE mixture.mixture_id = mixture_of(:'mixture', :'version') AND path = :'shard' AND superseded_at IS NULL;
