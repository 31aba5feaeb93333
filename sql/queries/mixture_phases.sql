-- The phases of a mixture, in the order in which they are read: policy, budget, what each holds, and what earlier ones had spent.
-- Parameters: mixture, version=
SELECT phase, name, policy, parameters, max_copies, budget_tokens, realised_tokens, samples, copies, held_back
FROM mixture_phase
WHERE mixture_id = mixture_of(:'mixture', :'version')
ORDER BY phase;
