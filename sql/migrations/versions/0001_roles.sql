-- Analysts read as samplemix_reader. Who may log in as it, and with which password, is the administrator's to say:
-- here it is created without login where it is missing and this user may create roles.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'samplemix_reader') THEN
        CREATE ROLE samplemix_reader NOLOGIN;
    END IF;
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE WARNING 'role samplemix_reader is missing and this user may not create it: an administrator must, then run the grants of 0001_roles.sql';
    WHEN duplicate_object OR unique_violation THEN
        NULL;  -- another database of this server is being migrated at the same moment
END
$$;

DO $$
BEGIN
    ALTER ROLE samplemix_reader SET statement_timeout = '60s';
    ALTER ROLE samplemix_reader SET default_transaction_read_only = on;
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE WARNING 'this user may not set statement_timeout and default_transaction_read_only for samplemix_reader';
    WHEN undefined_object THEN
        NULL;  -- the warning above
    WHEN internal_error THEN
        -- "tuple concurrently updated": another database of this server sets the very same values
        NULL;
END
$$;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'samplemix_reader') THEN
        GRANT USAGE ON SCHEMA public TO samplemix_reader;
        GRANT SELECT ON ALL TABLES IN SCHEMA public TO samplemix_reader;
        ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO samplemix_reader;
    END IF;
END
$$;
