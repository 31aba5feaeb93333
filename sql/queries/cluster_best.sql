-- The 50 best documents of a cluster by the corpus's current models: highest quality first, then nearest to the centroid.
-- Parameters: corpus, cluster
SELECT snapshot, shard, row, doc_id, domain, n_tokens, quality, distance, is_noise, diversity
FROM sample_scores
WHERE corpus_id = corpus_of(:'corpus') AND cluster = :'cluster'::int
ORDER BY quality DESC, distance, snapshot, shard, row
LIMIT 50;
