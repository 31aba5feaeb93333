-- Quality of each crawl by the current model, domain by domain: shows a source that got worse.
-- Parameters: corpus
SELECT domain, snapshot, sum(documents)::bigint AS documents, sum(tokens)::bigint AS tokens,
       sum(quality_sum) / sum(documents)::float8 AS quality
FROM score_rollups
WHERE corpus_id = corpus_of(:'corpus') AND is_current
GROUP BY domain, snapshot
ORDER BY domain, snapshot;
