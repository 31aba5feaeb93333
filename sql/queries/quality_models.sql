-- Scores of each quality model for the domains of a corpus: mean, spread and deciles (to the width of a band), as 0 to 1 of the model's range.
-- Parameters: corpus
WITH band AS (
    SELECT quality_model.name AS quality_model, left(quality_model_key, 12) AS key, domain.name AS domain, quality_band,
           sum(documents) AS documents, sum(quality_sum) / 10000.0::float8 AS quality_sum,
           sum(quality_square_sum) / 1e8::float8 AS quality_square_sum, q_low::float8 AS low, (q_high - q_low)::float8 AS width
    FROM score_rollup
    JOIN snapshot USING (snapshot_id)
    JOIN domain USING (domain_id)
    JOIN quality_model USING (quality_model_id)
    WHERE corpus_id = corpus_of(:'corpus')
    GROUP BY quality_model.name, quality_model_key, domain.name, quality_band, q_low, q_high
), ranked AS (
    SELECT *, sum(documents) OVER (PARTITION BY key, domain ORDER BY quality_band) / sum(documents) OVER (PARTITION BY key, domain)
           AS below
    FROM band
)
SELECT quality_model, key, domain, sum(documents)::bigint AS documents,
       (sum(quality_sum) / sum(documents)::float8 - low) / width AS quality,
       sqrt(greatest(0, sum(quality_square_sum) / sum(documents)::float8 - (sum(quality_sum) / sum(documents)::float8) ^ 2)) / width
           AS spread,
       min(quality_band) FILTER (WHERE below >= 0.1) / 40.0::float8 AS lowest_tenth,
       min(quality_band) FILTER (WHERE below >= 0.5) / 40.0::float8 AS median,
       min(quality_band) FILTER (WHERE below >= 0.9) / 40.0::float8 AS highest_tenth
FROM ranked
GROUP BY quality_model, key, domain, low, width
ORDER BY quality_model, key, quality DESC, domain;
