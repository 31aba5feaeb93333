-- How far two quality models agree on a corpus, by domain: rank correlation, and how many of either's best tenth are the other's too. Of a large corpus, about 200,000 documents are compared.
-- Parameters: corpus, model, other
WITH few AS (
    SELECT snapshot_id, shard_id, row, quality
    FROM quality_score TABLESAMPLE SYSTEM ((
        SELECT least(100.0, 100.0 * 200000 / greatest(1, sum(documents)))
        FROM score_rollup JOIN snapshot USING (snapshot_id)
        WHERE corpus_id = corpus_of(:'corpus') AND quality_model_id = quality_model_of(:'model')
    )) REPEATABLE (42)
    WHERE quality_model_id = quality_model_of(:'model')
        AND snapshot_id IN (SELECT snapshot_id FROM snapshot WHERE corpus_id = corpus_of(:'corpus'))
), both_of AS (
    SELECT domain.name AS domain, few.quality AS quality, other.quality AS other_quality,
           rank() OVER (PARTITION BY domain.name ORDER BY few.quality) + count(*) OVER (PARTITION BY domain.name, few.quality) / 2.0
               AS place,
           rank() OVER (PARTITION BY domain.name ORDER BY other.quality) + count(*) OVER (PARTITION BY domain.name, other.quality) / 2.0
               AS other_place,
           percent_rank() OVER (PARTITION BY domain.name ORDER BY few.quality DESC) <= 0.1 AS best,
           percent_rank() OVER (PARTITION BY domain.name ORDER BY other.quality DESC) <= 0.1 AS other_best
    FROM few
    JOIN quality_score AS other USING (snapshot_id, shard_id, row)
    JOIN sample USING (snapshot_id, shard_id, row)
    JOIN domain USING (domain_id)
    WHERE other.quality_model_id = quality_model_of(:'other')
)
SELECT domain, count(*) AS documents, avg(quality)::float8 AS quality, avg(other_quality)::float8 AS other_quality,
       corr(place, other_place) AS rank_correlation,
       count(*) FILTER (WHERE best AND other_best)::float8 / nullif(count(*) FILTER (WHERE best), 0) AS best_shared
FROM both_of
GROUP BY domain
ORDER BY rank_correlation, domain;
