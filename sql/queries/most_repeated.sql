-- The samples a mixture repeats most, with the quality and the diversity that earned it.
-- Parameters: mixture (name), version
SELECT snapshot, shard, row, doc_id, domain, n_tokens, copies, weight, quality, diversity, cluster
FROM mixture_samples
WHERE mixture = :'mixture' AND version = :'version'::int
ORDER BY copies DESC, weight DESC, snapshot, shard, row
LIMIT 50;
