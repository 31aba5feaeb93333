-- Agreement of two quality models on a corpus, by domain: rank correlation, and the overlap of their best tenths. Of a large corpus, at most about 50,000 documents from 2,000 files are compared, the same ones in every database.
-- Parameters: corpus, model, other
WITH files AS (
    SELECT snapshot_id, shard_id, documents, ('x' || left(md5(path), 8))::bit(32)::bigint AS place,
           least(1.0, 50000.0 / nullif(sum(documents) OVER (), 0)) AS share
    FROM (
        SELECT snapshot_id, shard_id, path, max(coalesce(rows, shard_score.documents)) AS documents
        FROM snapshot
        JOIN shard USING (snapshot_id)
        JOIN shard_score USING (shard_id, etag)
        -- Lines without a record take a row too.
        LEFT JOIN LATERAL (SELECT max(first_row + block.rows) AS rows FROM block WHERE block.shard_id = shard.shard_id) AS cut ON true
        WHERE corpus_id = corpus_of(:'corpus') AND superseded_at IS NULL AND state = 'done'
            AND quality_model_id = quality_model_of(:'model')
        GROUP BY snapshot_id, shard_id, path
        ORDER BY md5(path), path
        LIMIT 2000
    ) AS picked
), parts AS (
    -- Of each file as many rows as its part of all, one after the other from a place that its path decides.
    SELECT snapshot_id, shard_id, CASE WHEN share < 1 THEN floor(documents * (1 - share) * place / 2 ^ 32) ELSE 0 END::bigint AS first,
           CASE WHEN share < 1 THEN ceil(documents * share) ELSE 2 ^ 62 END::bigint AS rows
    FROM files
), both_scored AS MATERIALIZED (
    -- The range of rows is told of each table, as Postgres passes it on to none of the others.
    SELECT domain_id, both_of.quality, other_quality
    FROM parts
    CROSS JOIN LATERAL (
        SELECT domain_id, one.quality, other.quality AS other_quality
        FROM quality_score AS one
        JOIN quality_score AS other USING (row)
        JOIN sample USING (row)
        WHERE one.snapshot_id = parts.snapshot_id AND one.shard_id = parts.shard_id
            AND one.quality_model_id = quality_model_of(:'model') AND one.row >= first AND one.row < first + rows
            AND other.snapshot_id = parts.snapshot_id AND other.shard_id = parts.shard_id
            AND other.quality_model_id = quality_model_of(:'other') AND other.row >= first AND other.row < first + rows
            AND sample.snapshot_id = parts.snapshot_id AND sample.shard_id = parts.shard_id
            AND sample.row >= first AND sample.row < first + rows
        -- Else files are joined with whole tables.
        OFFSET 0
    ) AS both_of
), ranked AS (
    SELECT domain.name AS domain, quality, other_quality,
           rank() OVER (PARTITION BY domain.name ORDER BY quality) + count(*) OVER (PARTITION BY domain.name, quality) / 2.0 AS place,
           rank() OVER (PARTITION BY domain.name ORDER BY other_quality)
               + count(*) OVER (PARTITION BY domain.name, other_quality) / 2.0 AS other_place,
           percent_rank() OVER (PARTITION BY domain.name ORDER BY quality DESC) <= 0.1 AS best,
           percent_rank() OVER (PARTITION BY domain.name ORDER BY other_quality DESC) <= 0.1 AS other_best
    FROM both_scored JOIN domain USING (domain_id)
)
SELECT domain, count(*) AS documents, avg(quality)::float8 AS quality, avg(other_quality)::float8 AS other_quality,
       corr(place, other_place) AS rank_correlation,
       count(*) FILTER (WHERE best AND other_best)::float8 / nullif(count(*) FILTER (WHERE best), 0) AS best_shared
FROM ranked
GROUP BY domain
ORDER BY rank_correlation, domain;
