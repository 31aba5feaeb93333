-- A comparison: for each mixture, target and view, the steps that it saves against the reference and its loss in nats a byte, with standard errors.
-- Parameters: comparison
SELECT contender ->> 'name' AS contender, contender ->> 'policy' AS policy, gain ->> 'target' AS target, gain ->> 'view' AS view,
       (gain -> 'steps' ->> 'mean')::float8 AS steps_ratio, (gain -> 'steps' ->> 'error')::float8 AS steps_error,
       (gain -> 'nats' ->> 'mean')::float8 AS nats_per_byte, (gain -> 'difference' ->> 'mean')::float8 AS difference,
       (gain -> 'difference' ->> 'error')::float8 AS difference_error, gain ->> 'verdict' AS verdict
FROM comparison
CROSS JOIN jsonb_array_elements(report -> 'contenders') WITH ORDINALITY AS contenders (contender, place)
CROSS JOIN jsonb_array_elements(contender -> 'gains') WITH ORDINALITY AS gains (gain, number)
WHERE comparison_id = :'comparison'::int
ORDER BY place, number;
