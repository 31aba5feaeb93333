ALTER TABLE mixture_rollup
    ADD COLUMN language text COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN content_type text COLLATE "C" NOT NULL DEFAULT '',
    DROP CONSTRAINT mixture_rollup_pkey,
    ADD PRIMARY KEY (mixture_id, domain_id, cluster, quality_band, language, content_type);
COMMENT ON COLUMN mixture_rollup.language IS 'Language; empty in versions recorded before languages were told apart here';
COMMENT ON COLUMN mixture_rollup.content_type IS 'Kind of text: prose, code, markup or list; empty like language';
