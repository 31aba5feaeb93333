-- Comparisons of mixtures, the latest first: what was compared, on which targets, by how many draws.
-- Parameters:
SELECT comparison_id AS comparison, mixture, version, report ->> 'method' AS method,
       (SELECT string_agg(contender ->> 'name', ', ') FROM jsonb_array_elements(report -> 'contenders') AS contender) AS contenders,
       (SELECT string_agg(target ->> 'name', ', ') FROM jsonb_array_elements(report -> 'targets') AS target) AS targets,
       (report ->> 'draws')::int AS draws, (report ->> 'tokens')::bigint AS tokens, created_at
FROM comparison
ORDER BY comparison_id DESC
LIMIT 200;
