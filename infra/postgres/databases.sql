-- Roles and databases of an empty server, as the superuser. The passwords come from the environment of psql.
-- Run by the container's first start; on any other server: psql --file infra/postgres/databases.sql
\set ON_ERROR_STOP on
\getenv owner_password SAMPLEMIX_OWNER_PASSWORD
\getenv reader_password SAMPLEMIX_READER_PASSWORD
\getenv airflow_password SAMPLEMIX_AIRFLOW_DATABASE_PASSWORD

CREATE ROLE samplemix LOGIN PASSWORD :'owner_password';
CREATE ROLE samplemix_reader LOGIN PASSWORD :'reader_password';
CREATE ROLE airflow LOGIN PASSWORD :'airflow_password';

-- What the migrations would set if the owner might: an analyst's query can't write, and can't run for ever.
ALTER ROLE samplemix_reader SET default_transaction_read_only = on;
ALTER ROLE samplemix_reader SET statement_timeout = '60s';

CREATE DATABASE samplemix OWNER samplemix;
CREATE DATABASE airflow OWNER airflow;
REVOKE ALL ON DATABASE samplemix, airflow FROM PUBLIC;
GRANT CONNECT ON DATABASE samplemix TO samplemix_reader;
