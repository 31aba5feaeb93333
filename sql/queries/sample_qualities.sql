-- Scores of a document by each quality model: its quality, the same as 0 to 1 of the model's range, and its dimensions if the model has them.
-- Parameters: corpus, shard, row
SELECT quality_model.name AS quality_model, left(quality_model_key, 12) AS key, spec->>'kind' AS kind, quality,
       ((quality - q_low) / (q_high - q_low))::float8 AS normalised, clarity, completeness, structure, credibility, significance,
       knowledge, reasoning
FROM snapshot
JOIN shard USING (snapshot_id)
JOIN quality_score USING (snapshot_id, shard_id)
JOIN quality_model USING (quality_model_id)
WHERE corpus_id = corpus_of(:'corpus') AND path = :'shard' AND superseded_at IS NULL AND row = :'row'::bigint
ORDER BY quality_model.name, quality_model_id;
