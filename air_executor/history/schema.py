"""The schema of a history, and how an older one becomes the newest: by Alembic, in one transaction, under a lock."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from air_executor.errors import HistoryError
from air_executor.history.database import Database

HEAD = "0001"
VERSION_TABLE = "air_executor_schema"
_KNOWN = frozenset({"0001"})
_LOCK_KEY = 0x6169725F65786563
"""Number of the lock in PostgreSQL: nobody else's."""


def upgrade(database: Database) -> None:
    """Make the tables, or bring them to the newest schema; nothing happens if they are. Many may call it at once.

    :raises HistoryError: the schema is newer than this version, or the database refused.
    """
    with database.begin() as connection:
        if _version(connection) == HEAD:
            return
        # SQLite has taken its lock already, when the transaction began.
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK_KEY)))
        version = _version(connection)
        if version == HEAD:
            return
        _refuse_newer(database, version)
        _run_migrations(connection)


def check(database: Database) -> None:
    """See that the tables can be read.

    :raises HistoryError: there are none, or their schema is another one.
    """
    with database.begin() as connection:
        version = _version(connection)
    if version is None:
        raise HistoryError(f"{database.shown}: holds no history yet")
    _refuse_newer(database, version)
    if version != HEAD:
        raise HistoryError(
            f"{database.shown}: has the older schema {version}; a manager with the history switched on brings it to {HEAD}"
        )


def _refuse_newer(database: Database, version: str | None) -> None:
    if version is not None and version not in _KNOWN:
        raise HistoryError(
            f"{database.shown}: has the schema {version}, which is newer than {HEAD} of this version: "
            "upgrade air-executor, or give another history_url"
        )


def _version(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return None
    table = sa.table(VERSION_TABLE, sa.column("version_num"))
    return connection.execute(sa.select(table.c.version_num)).scalar_one_or_none()


def _run_migrations(connection: sa.Connection) -> None:
    # Takes a blink to import, and is needed once.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
