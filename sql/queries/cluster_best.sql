-- The best documents of a cluster by quality, nearest to its centroid first among equals; the current models of a corpus.
-- Parameters: corpus (URI), cluster (number)
SELECT snapshot, shard, row, doc_id, domain, n_tokens, quality, distance, is_noise, diversity
FROM sample_scores
WHERE corpus = :'corpus' AND cluster = :'cluster'::int
ORDER BY quality DESC, distance, snapshot, shard, row
LIMIT 50;
