"""Roles and databases in the embedded Postgres server."""

import contextlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import encrypt_password

from samplemix_core.local.home import Credentials
from samplemix_core.local.ports import HOST

DATABASE = "samplemix"
AIRFLOW_DATABASE = "airflow"
OWNER = "samplemix"
READER = "samplemix_reader"
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
        # Only a superuser may set these for another role; the migration sets them where it is run by one.
        cursor.execute(sql.SQL("ALTER ROLE {} SET statement_timeout = '60s'").format(reader))
        cursor.execute(sql.SQL("ALTER ROLE {} SET default_transaction_read_only = on").format(reader))


@contextlib.contextmanager
def _connect(port: int, superuser_password: str) -> Iterator[Any]:
    connection = psycopg2.connect(
        host=HOST, port=port, user="postgres", password=superuser_password, dbname="postgres", sslmode="disable", connect_timeout=5
    )
    # CREATE DATABASE can't run within a transaction.
    connection.autocommit = True
    try:
        yield connection
    finally:
        connection.close()
