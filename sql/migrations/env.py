"""Alembic's entry: runs migrations on the connection it is given, or on the configured database from the command line."""

from alembic import context

from samplemix_core.settings import Settings


def run() -> None:
    """Migrate inside one transaction, so that a migration that fails leaves nothing behind."""
    connection = context.config.attributes.get("connection")
    if connection is None:
        from samplemix_core.database.connection import connect

        with connect(Settings.load().require("database_url")).begin() as connection:
            context.configure(connection=connection)
            context.run_migrations()
        return
    context.configure(connection=connection)
    context.run_migrations()


run()
