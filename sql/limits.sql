-- What the roles that only read may do in this database, and how much. As a superuser, in SampleMix's database; running it again
-- is safe, and brings back what a role has changed of itself. Analysts ask as samplemix_reader, Airflow's pages as samplemix_pages, so
-- that neither an analyst's many connections nor what they do to their role keeps the pages from answering.
DO $$
DECLARE
    reading text;
BEGIN
    FOREACH reading IN ARRAY ARRAY['samplemix_reader', 'samplemix_pages'] LOOP
        IF to_regrole(reading) IS NULL THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', reading);
        END IF;
        EXECUTE format('ALTER ROLE %I RESET ALL', reading);
        EXECUTE format('ALTER ROLE %I IN DATABASE %I RESET ALL', reading, current_database());
        -- A role can change these for itself: the platform states them again for each question of its own, and ends what reads for
        -- longer than two minutes.
        EXECUTE format('ALTER ROLE %I SET default_transaction_read_only = on', reading);
        EXECUTE format('ALTER ROLE %I SET statement_timeout = ''60s''', reading);
        EXECUTE format('ALTER ROLE %I SET idle_in_transaction_session_timeout = ''120s''', reading);
        IF current_setting('server_version_num')::int >= 170000 THEN
            EXECUTE format('ALTER ROLE %I SET transaction_timeout = ''120s''', reading);
        END IF;
        -- These it can't.
        EXECUTE format('ALTER ROLE %I SET temp_file_limit = ''4GB''', reading);
        EXECUTE format('ALTER ROLE %I CONNECTION LIMIT 20', reading);
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), reading);
    END LOOP;
    GRANT samplemix_reader TO samplemix_pages;
    -- A member may end the roles' sessions.
    GRANT samplemix_reader, samplemix_pages TO samplemix;
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
END
$$;

-- The owner's alone: advisory locks, by which runs wait for each other; and what writes although a transaction only reads, or would
-- let a statement change its own limits.
DO $$
DECLARE
    kept regprocedure;
BEGIN
    FOR kept IN
        SELECT oid::regprocedure FROM pg_proc
        WHERE pronamespace = 'pg_catalog'::regnamespace
            AND (proname ~ '^pg_(try_)?advisory_' OR proname ~ '^lo_'
                OR proname IN ('loread', 'lowrite', 'set_config', 'pg_notify', 'pg_logical_emit_message', 'pg_export_snapshot'))
    LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', kept);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO samplemix', kept);
    END LOOP;
END
$$;
