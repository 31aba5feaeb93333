-- Roles and databases of an empty server, as the superuser. The passwords come from the environment of psql.
-- Run by the container's first start; on any other server: psql --file sql/databases.sql
\set ON_ERROR_STOP on
\getenv owner_password SAMPLEMIX_OWNER_PASSWORD
\getenv reader_password SAMPLEMIX_READER_PASSWORD
\getenv pages_password SAMPLEMIX_PAGES_PASSWORD
\getenv airflow_password SAMPLEMIX_AIRFLOW_DATABASE_PASSWORD

CREATE ROLE samplemix LOGIN PASSWORD :'owner_password';
CREATE ROLE samplemix_reader LOGIN PASSWORD :'reader_password';
CREATE ROLE samplemix_pages LOGIN PASSWORD :'pages_password';
CREATE ROLE airflow LOGIN PASSWORD :'airflow_password';

CREATE DATABASE samplemix OWNER samplemix TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
CREATE DATABASE airflow OWNER airflow TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';

-- Where others keep databases on this server too, they may want these two as they were.
REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC;
REVOKE ALL ON DATABASE airflow FROM PUBLIC;

\connect samplemix
\ir ../sql/limits.sql
