-- Roles and databases of an empty server, as the superuser. The passwords come from the environment of psql.
-- Run by the container's first start; on any other server: psql --file infra/postgres/databases.sql
\set ON_ERROR_STOP on
\getenv owner_password SAMPLEMIX_OWNER_PASSWORD
\getenv reader_password SAMPLEMIX_READER_PASSWORD
\getenv airflow_password SAMPLEMIX_AIRFLOW_DATABASE_PASSWORD

CREATE ROLE samplemix LOGIN PASSWORD :'owner_password';
CREATE ROLE samplemix_reader LOGIN PASSWORD :'reader_password';
CREATE ROLE airflow LOGIN PASSWORD :'airflow_password';

-- What the migrations would set if the owner might: an analyst's query can't write, fill the disk, or run for ever. The role can lift
-- its own statement_timeout: so the platform, as a member of it, ends what reads for longer than two minutes.
ALTER ROLE samplemix_reader SET default_transaction_read_only = on;
ALTER ROLE samplemix_reader SET statement_timeout = '60s';
ALTER ROLE samplemix_reader SET temp_file_limit = '4GB';
ALTER ROLE samplemix_reader CONNECTION LIMIT 40;
GRANT samplemix_reader TO samplemix;

CREATE DATABASE samplemix OWNER samplemix;
CREATE DATABASE airflow OWNER airflow;
REVOKE ALL ON DATABASE samplemix, airflow FROM PUBLIC;
GRANT CONNECT ON DATABASE samplemix TO samplemix_reader;

-- Advisory locks, which runs wait for each other by, are the owner's alone in this database.
\connect samplemix
DO $$
DECLARE
    lock regprocedure;
BEGIN
    FOR lock IN
        SELECT oid::regprocedure FROM pg_proc
        WHERE pronamespace = 'pg_catalog'::regnamespace AND proname ~ '^pg_(try_)?advisory_'
    LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', lock);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO samplemix', lock);
    END LOOP;
END
$$;
