-- Documents of a mixture's source on a map where near ones are alike: a sample, with the beginnings of their texts and what became of each.
-- Parameters: mixture, version=
SELECT map.x, map.y, snapshot.name AS snapshot, path AS shard, map.row, domain.name AS domain,
       coalesce(sample.language, 'und') AS language, coalesce(sample.content_type, 'unknown') AS content_type,
       sample.n_tokens, scored.quality, coalesce(assigned.diversity, cluster.diversity) AS diversity,
       cluster.name AS cluster, cluster.terms, assigned.is_noise, 
       CASE WHEN to_regclass('mixture_sample_m' || mixture_id) IS NOT NULL THEN coalesce(held.copies, 0) END AS copies, map.beginning
FROM mixture
JOIN mixture_snapshot USING (mixture_id)
JOIN sample_map AS map USING (cluster_model_id, snapshot_id)
CROSS JOIN LATERAL (
    SELECT domain_id, language, content_type, n_tokens FROM sample
    WHERE (sample.snapshot_id, sample.shard_id, sample.row) = (map.snapshot_id, map.shard_id, map.row) OFFSET 0
) AS sample
CROSS JOIN LATERAL (
    SELECT quality FROM quality_score AS score
    WHERE (score.snapshot_id, score.shard_id, score.row, score.quality_model_id)
        = (map.snapshot_id, map.shard_id, map.row, mixture.quality_model_id) OFFSET 0
) AS scored
CROSS JOIN LATERAL (
    SELECT cluster, diversity, is_noise FROM diversity_score AS score
    WHERE (score.cluster_model_id, score.snapshot_id, score.shard_id, score.row)
        = (map.cluster_model_id, map.snapshot_id, map.shard_id, map.row) OFFSET 0
) AS assigned
LEFT JOIN LATERAL (
    SELECT copies FROM mixture_sample AS chosen
    WHERE (chosen.mixture_id, chosen.snapshot_id, chosen.shard_id, chosen.row)
        = (mixture.mixture_id, map.snapshot_id, map.shard_id, map.row) OFFSET 0
) AS held ON true
LEFT JOIN cluster ON cluster.cluster_model_id = map.cluster_model_id AND cluster.cluster = assigned.cluster
JOIN shard ON shard.shard_id = map.shard_id
JOIN snapshot ON snapshot.snapshot_id = map.snapshot_id
JOIN domain ON domain.domain_id = sample.domain_id
WHERE mixture_id = mixture_of(:'mixture', :'version')
ORDER BY path COLLATE "C", map.row
LIMIT 25000;
