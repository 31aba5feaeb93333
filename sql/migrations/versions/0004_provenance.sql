CREATE TABLE mixture_left_out (
    mixture_id int NOT NULL REFERENCES mixture ON DELETE CASCADE,
    domain_id int NOT NULL REFERENCES domain,
    rule text COLLATE "C" NOT NULL,
    documents bigint NOT NULL CHECK (documents > 0),
    PRIMARY KEY (mixture_id, domain_id, rule)
);
COMMENT ON TABLE mixture_left_out IS 'How many documents of each domain a mixture''s constraints left out';
COMMENT ON COLUMN mixture_left_out.mixture_id IS 'Mixture';
COMMENT ON COLUMN mixture_left_out.domain_id IS 'Domain';
COMMENT ON COLUMN mixture_left_out.rule IS 'The first rule that left them out, such as exclude.hosts';
COMMENT ON COLUMN mixture_left_out.documents IS 'Documents, of which others may have the same text';
