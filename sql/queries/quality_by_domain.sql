-- Quality of each domain by the current model: mean, spread and deciles (to the width of a band).
-- Parameters: corpus
WITH band AS (
    SELECT domain, quality_band, min(quality_from) AS quality_from, sum(documents) AS documents, sum(tokens) AS tokens,
           sum(quality_sum) AS quality_sum, sum(quality_square_sum) AS quality_square_sum
    FROM score_rollups
    WHERE corpus_id = corpus_of(:'corpus') AND is_current
    GROUP BY domain, quality_band
), ranked AS (
    SELECT *, sum(documents) OVER (PARTITION BY domain ORDER BY quality_band) / sum(documents) OVER (PARTITION BY domain) AS below
    FROM band
)
SELECT domain,
       sum(documents)::bigint AS documents,
       sum(tokens)::bigint AS tokens,
       sum(quality_sum) / sum(documents)::float8 AS quality,
       sqrt(greatest(0, sum(quality_square_sum) / sum(documents)::float8 - (sum(quality_sum) / sum(documents)::float8) ^ 2)) AS spread,
       min(quality_from) FILTER (WHERE below >= 0.1) AS lowest_tenth,
       min(quality_from) FILTER (WHERE below >= 0.5) AS median,
       min(quality_from) FILTER (WHERE below >= 0.9) AS highest_tenth
FROM ranked
GROUP BY domain
ORDER BY quality DESC, domain;
