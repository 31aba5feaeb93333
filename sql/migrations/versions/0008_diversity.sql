ALTER TABLE diversity_score ADD COLUMN diversity real;
COMMENT ON TABLE diversity_score IS 'Cluster and diversity of a sample under a cluster model';
COMMENT ON COLUMN diversity_score.diversity IS 'Diversity, 0..1, averaged over the model''s fits; empty where it is that of the cluster';

ALTER TABLE cluster_model ADD COLUMN diversity_ranks jsonb;
COMMENT ON COLUMN cluster_model.diversity_ranks IS 'Diversities over the fit''s sample, ascending, and the place of each in 0..1';

ALTER TABLE mixture_rollup ADD COLUMN diversity_spread real NOT NULL DEFAULT 0, ADD COLUMN mixture_diversity real;
COMMENT ON COLUMN mixture_rollup.diversity IS 'Mean diversity of the documents when the mixture was made, 0..1';
COMMENT ON COLUMN mixture_rollup.diversity_spread IS 'Standard deviation of their diversity';
COMMENT ON COLUMN mixture_rollup.mixture_diversity IS 'Mean diversity of the copies; empty in versions where it is that of the documents';
COMMENT ON COLUMN mixture_rollups.diversity IS 'Mean diversity of the documents, 0..1';

ALTER TABLE cluster ADD COLUMN coherence real;
COMMENT ON COLUMN cluster.coherence IS 'Share of trials in which words tell a text of another cluster from five of its own; by chance .17; empty until described';
COMMENT ON TABLE cluster IS 'Clusters of a measured model, as its first fit has them';
COMMENT ON COLUMN cluster.compactness IS 'Mean distance of the fit''s sample to the centroid';
COMMENT ON COLUMN cluster.diversity IS 'compactness x separation, normalised to 0..1; that of a document is averaged over the model''s fits';
COMMENT ON COLUMN mixture_sample.diversity IS 'Diversity when the mixture was made, 0..1';
COMMENT ON COLUMN mixture_samples.diversity IS 'Diversity when the mixture was made, 0..1';
COMMENT ON COLUMN sample_scores.diversity IS 'Diversity, 0..1, averaged over the cluster model''s fits';
COMMENT ON COLUMN sample_scores.compactness IS 'Mean distance of the cluster''s documents in the fit''s sample to its centroid';

ALTER TABLE cluster_rollup ADD COLUMN diversity_sum bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN cluster_rollup.diversity_sum IS 'Sum of their diversities, each times 10,000 and rounded';
UPDATE cluster_rollup SET diversity_sum = round(diversity * 10000)::bigint * documents
FROM cluster WHERE (cluster.cluster_model_id, cluster.cluster) = (cluster_rollup.cluster_model_id, cluster_rollup.cluster);

CREATE OR REPLACE VIEW cluster_rollups AS
SELECT corpus.corpus_id, corpus.uri AS corpus, snapshot.name AS snapshot, domain.name AS domain,
       cluster_model_key AS cluster_model, cluster_model_id IS NOT DISTINCT FROM current_cluster_model AS is_current,
       cluster, compactness, separation, diversity,
       documents, tokens, noise, distance_sum / 10000.0::float8 AS distance_sum,
       distance_square_sum / 1e8::float8 AS distance_square_sum, tokenizer, diversity_sum / 10000.0::float8 AS diversity_sum
FROM cluster_rollup
JOIN snapshot USING (snapshot_id)
JOIN corpus USING (corpus_id)
JOIN domain USING (domain_id)
JOIN cluster_model USING (cluster_model_id)
LEFT JOIN cluster USING (cluster_model_id, cluster);
COMMENT ON COLUMN cluster_rollups.diversity IS 'compactness x separation of the cluster, normalised to 0..1';
COMMENT ON COLUMN cluster_rollups.diversity_sum IS 'Sum of the documents'' own diversities: over documents it is the mean';

DROP TABLE shard_cluster;
