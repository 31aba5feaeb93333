-- Learning curves of a comparison: the loss of each mixture's draws on each group of a target's texts, in nats a byte, by tokens read.
-- Parameters: comparison
SELECT contender, method, comparison_evaluation.draw, substr(benchmark.name, length('target.') + 1) AS target, text_group, evaluation_loss.tokens,
       sum(nats) / sum(evaluation_loss.n_bytes) AS nats_per_byte
FROM comparison_evaluation
JOIN evaluation USING (evaluation_id)
JOIN evaluation_loss USING (evaluation_id)
JOIN benchmark USING (benchmark_id)
WHERE comparison_id = :'comparison'::int
GROUP BY 1, 2, 3, 4, 5, 6
ORDER BY 1, 2, 3, 4, 5, 6;
