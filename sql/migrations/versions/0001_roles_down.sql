DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'samplemix_reader') THEN
        ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE SELECT ON TABLES FROM samplemix_reader;
        REVOKE SELECT ON ALL TABLES IN SCHEMA public FROM samplemix_reader;
        REVOKE USAGE ON SCHEMA public FROM samplemix_reader;
    END IF;
END
$$;
