"""Roles and databases in the embedded Postgres server."""

import contextlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import encrypt_password

from samplemix_core.database.query import READER
from samplemix_core.local.home import Credentials
from samplemix_core.local.ports import HOST

DATABASE = "samplemix"
AIRFLOW_DATABASE = "airflow"
OWNER = "samplemix"
AIRFLOW_OWNER = "airflow"


def database_url(role: str, password: str, database: str, port: int) -> str:
    """SQLAlchemy's URL of a database of the embedded server."""
    return f"postgresql+psycopg2://{role}:{quote(password, safe='')}@{HOST}:{port}/{database}"


def airflow_database_url(port: int, credentials: Credentials) -> str:
    """URL of Airflow's own database."""
    return database_url(AIRFLOW_OWNER, credentials.postgres_airflow, AIRFLOW_DATABASE, port)


def missing_databases(port: int, credentials: Credentials) -> str | None:
    """Make roles and databases that are missing, and set the roles' passwords; the reason if the server was not ready for that."""
    try:
        _ensure_databases(port, credentials)
    except psycopg2.OperationalError as error:
        return str(error).split("\n", 1)[0]
    return None


def _ensure_databases(port: int, credentials: Credentials) -> None:
    roles = {
        OWNER: credentials.postgres_owner,
        READER: credentials.postgres_reader,
        AIRFLOW_OWNER: credentials.postgres_airflow,
    }
    with _connect(port, credentials.postgres_superuser) as connection, connection.cursor() as cursor:
        for role, password in roles.items():
            cursor.execute("SELECT FROM pg_roles WHERE rolname = %s", (role,))
            verb = "ALTER" if cursor.rowcount else "CREATE"
            # Sent as its SCRAM verifier, so that the server's log can't come to hold the password.
            verifier = encrypt_password(password, role, connection, "scram-sha-256")
            cursor.execute(sql.SQL(verb + " ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(role), sql.Literal(verifier)))
        for database, owner in ((DATABASE, OWNER), (AIRFLOW_DATABASE, AIRFLOW_OWNER)):
            name = sql.Identifier(database)
            cursor.execute("SELECT FROM pg_database WHERE datname = %s", (database,))
            if not cursor.rowcount:
                cursor.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(name, sql.Identifier(owner)))
            cursor.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(name))
        reader = sql.Identifier(READER)
        cursor.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(sql.Identifier(DATABASE), reader))
        for limit in READER_LIMITS:
            cursor.execute(sql.SQL(limit).format(reader=reader, owner=sql.Identifier(OWNER)))
    with _connect(port, credentials.postgres_superuser, DATABASE) as connection, connection.cursor() as cursor:
        cursor.execute(OWN_LOCKS)


READER_LIMITS = (
    # Only a superuser may set these for another role; the migration sets the first two where it is run by one.
    "ALTER ROLE {reader} SET statement_timeout = '60s'",
    "ALTER ROLE {reader} SET default_transaction_read_only = on",
    # This one the role can not set itself.
    "ALTER ROLE {reader} SET temp_file_limit = '4GB'",
    "ALTER ROLE {reader} CONNECTION LIMIT 40",
    # A member may end the role's sessions: the platform ends what reads for too long (database/query.py).
    "GRANT {reader} TO {owner}",
)

OWN_LOCKS = """
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
$$
"""
"""Advisory locks, which runs wait for each other by, are the owner's alone in this database."""


@contextlib.contextmanager
def _connect(port: int, superuser_password: str, database: str = "postgres") -> Iterator[Any]:
    connection = psycopg2.connect(
        host=HOST, port=port, user="postgres", password=superuser_password, dbname=database, sslmode="disable", connect_timeout=5
    )
    # CREATE DATABASE can't run within a transaction.
    connection.autocommit = True
    try:
        yield connection
    finally:
        connection.close()
