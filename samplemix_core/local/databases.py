"""Roles and databases in the embedded Postgres server. Run as a program, it guards the roles that can only read."""

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import encrypt_password

from samplemix_core.database.connection import HOLD_ALWAYS, Cursor, Lock
from samplemix_core.database.query import PAGES, READ_LIMIT_SECONDS, READER, end_long_reads
from samplemix_core.local.home import Credentials, Home, load_credentials
from samplemix_core.local.ports import HOST
from samplemix_core.logs import configure_logging
from samplemix_core.settings import shipped_directory

DATABASE = "samplemix"
AIRFLOW_DATABASE = "airflow"
OWNER = "samplemix"
AIRFLOW_OWNER = "airflow"
GUARD_SECONDS = 5.0


def database_url(role: str, password: str, database: str, port: int) -> str:
    """Return the SQLAlchemy URL of a database on the embedded server."""
    return f"postgresql+psycopg2://{role}:{quote(password, safe='')}@{HOST}:{port}/{database}"


def airflow_database_url(port: int, credentials: Credentials) -> str:
    """URL of Airflow's own database."""
    return database_url(AIRFLOW_OWNER, credentials.postgres_airflow, AIRFLOW_DATABASE, port)


def missing_databases(port: int, credentials: Credentials) -> str | None:
    """Create missing roles and databases, and set passwords and limits; returns the reason if the server was not ready for that."""
    try:
        with _connect(port, credentials.postgres_superuser) as cursor:
            _ensure_roles(cursor, credentials)
            for database, owner in ((DATABASE, OWNER), (AIRFLOW_DATABASE, AIRFLOW_OWNER)):
                name = sql.Identifier(database)
                cursor.execute("SELECT FROM pg_database WHERE datname = %s", (database,))
                if not cursor.rowcount:
                    cursor.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(name, sql.Identifier(owner)))
                cursor.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(name))
            # Nobody but the superuser has anything to do there.
            cursor.execute("REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC")
            _ensure_limits(port, credentials)
    except psycopg2.OperationalError as error:
        return str(error).split("\n", 1)[0]
    return None


def _ensure_roles(cursor: Cursor, credentials: Credentials) -> None:
    roles = {
        OWNER: credentials.postgres_owner,
        READER: credentials.postgres_reader,
        PAGES: credentials.postgres_pages,
        AIRFLOW_OWNER: credentials.postgres_airflow,
    }
    for role, password in roles.items():
        cursor.execute("SELECT FROM pg_roles WHERE rolname = %s", (role,))
        verb = "ALTER" if cursor.rowcount else "CREATE"
        # Sent as its SCRAM verifier, so that the password can't end up in the server's log.
        verifier = encrypt_password(password, role, cursor.connection, "scram-sha-256")
        cursor.execute(sql.SQL(verb + " ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(role), sql.Literal(verifier)))


def _ensure_limits(port: int, credentials: Credentials) -> None:
    with _connect(port, credentials.postgres_superuser, DATABASE) as cursor:
        cursor.execute((shipped_directory("sql") / "limits.sql").read_text())


_ROLES = """
SELECT rolname, rolpassword, rolconnlimit, setdatabase, setconfig
FROM pg_authid LEFT JOIN pg_db_role_setting ON setrole = pg_authid.oid
WHERE rolname = ANY(%s)
ORDER BY rolname, setdatabase
"""


def guard(port: int, credentials: Credentials, seconds: float, tell: Callable[[str], None]) -> None:
    """Check the read-only roles every `seconds` until the server is gone, because a role may alter itself.

    Anything that a role has changed about itself is reset, and its sessions that read for too long are ended. Raises psycopg2.Error
    when the server is gone.
    """
    seen: list[Any] = []
    with _connect(port, credentials.postgres_superuser, DATABASE) as cursor:
        while True:
            cursor.execute(_ROLES, ([READER, PAGES],))
            if cursor.fetchall() != seen:
                if seen:
                    tell("a role that only reads was altered, and is set as it was")
                with _connect(port, credentials.postgres_superuser) as locked:
                    _ensure_roles(locked, credentials)
                    _ensure_limits(port, credentials)
                    cursor.execute(_ROLES, ([READER, PAGES],))
                    seen = cursor.fetchall()
            if ended := end_long_reads(cursor):
                tell(f"ended {ended} sessions that read for longer than {READ_LIMIT_SECONDS:g} s")
            time.sleep(seconds)


@contextlib.contextmanager
def _connect(port: int, superuser_password: str, database: str = "postgres") -> Iterator[Cursor]:
    """Yield a cursor that commits each statement; in the database postgres, only one at a time."""
    connection = psycopg2.connect(
        host=HOST, port=port, user="postgres", password=superuser_password, dbname=database, sslmode="disable", connect_timeout=5
    )
    # CREATE DATABASE can't run within a transaction.
    connection.autocommit = True
    try:
        cursor = connection.cursor()
        if database == "postgres":
            cursor.execute(HOLD_ALWAYS, (Lock.ROLES,))
        yield cursor
    finally:
        connection.close()


def main() -> None:
    """Guard the server on the port in the first argument, with the secrets of the home in the second."""
    configure_logging()
    logger = logging.getLogger("samplemix_core.local.guard")
    port, credentials = int(sys.argv[1]), load_credentials(Home(Path(sys.argv[2])))
    while True:
        try:
            guard(port, credentials, GUARD_SECONDS, logger.warning)
        except psycopg2.Error as error:
            logger.info("looking again: %s", str(error).split("\n", 1)[0])
        time.sleep(1)


if __name__ == "__main__":
    main()
