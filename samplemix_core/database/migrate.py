"""Bring a database to the schema this code expects: Alembic, run from the library."""

from collections.abc import Callable

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from samplemix_core.database.connection import HOLD, Lock, connect, service_errors
from samplemix_core.errors import ConfigError
from samplemix_core.settings import shipped_directory


def migrate(database_url: str, revision: str = "head") -> None:
    """Upgrade a database to a revision, completely or not at all; a database that is already there is left as it is.

    Raises ConfigError for a database that isn't encoded in UTF-8, or whose revision this version of SampleMix doesn't know.
    """
    _run(database_url, lambda config: command.upgrade(config, revision))


def downgrade(database_url: str, revision: str = "base") -> None:
    """Take a database back to an earlier revision, completely or not at all. Drops what later revisions created."""
    _run(database_url, lambda config: command.downgrade(config, revision))


def _run(database_url: str, step: Callable[[Config], None]) -> None:
    config = Config(str(shipped_directory("sql") / "alembic.ini"))
    engine = connect(database_url)
    with service_errors(engine), engine.begin() as connection:
        encoding = connection.exec_driver_sql("SHOW server_encoding").scalar()
        if encoding != "UTF8":
            raise ConfigError(
                f"The database {engine.url.database} has the encoding {encoding}, which can't hold every text.",
                f"Make another, as sql/databases.sql does: CREATE DATABASE {engine.url.database} OWNER {engine.url.username}"
                " TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'.",
            )
        connection.exec_driver_sql(HOLD, (Lock.MIGRATION,))
        # Readers queue behind an ALTER TABLE that is waiting for its lock.
        connection.exec_driver_sql("SET LOCAL lock_timeout = '10s'")
        config.attributes["connection"] = connection
        _require_known(config, connection)
        step(config)


def _require_known(config: Config, connection: Connection) -> None:
    """Raise ConfigError unless the database is empty or at a revision that this version knows."""
    current = MigrationContext.configure(connection).get_current_revision()
    if current is None or current in {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}:
        return
    name = connection.engine.url.database
    if current.isdigit():
        raise ConfigError(
            f"The database {name} is of a development version before the first release (revision {current}): it can't be migrated.",
            "Start with another SAMPLEMIX_HOME, or drop the database and create it again: crawls are then scored again. Published"
            " mixtures stay as they are.",
        )
    raise ConfigError(f"The database {name} is of a later SampleMix (revision {current}).", "Upgrade SampleMix.")
