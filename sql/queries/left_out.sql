-- What a mixture left out and why: documents by rule and domain, those of constraints, and near-duplicates of documents that stay.
-- Parameters: mixture, version=
SELECT rule, domain.name AS domain, documents
FROM mixture_left_out
JOIN domain USING (domain_id)
WHERE mixture_id = mixture_of(:'mixture', :'version')
ORDER BY documents DESC, rule, domain;
