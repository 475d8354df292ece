"""Rows that one transaction writes: collected by key, so that what changes often is written once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from air_executor.history import tables

Row = dict[str, Any]


class Rows:
    """What has changed since the last transaction. A row that is written twice is the same row."""

    def __init__(self) -> None:
        self.jobs: dict[int, Row] = {}
        self.tasks: dict[tuple[int, str], Row] = {}
        self.attempts: dict[tuple[int, str, int], Row] = {}
        self.restored_attempts: dict[tuple[int, str, int], Row] = {}
        """Written only where nothing is known of the attempt: it was recorded when it happened, if anybody saw it."""
        self.progress: dict[tuple[int, int], Row] = {}
        self.void_progress: set[int] = set()
        """Runs whose points are all made anew."""

    def __len__(self) -> int:
        return len(self.jobs) + len(self.tasks) + len(self.attempts) + len(self.restored_attempts) + len(self.progress)

    def write(self, connection: sa.Connection) -> None:
        """Write all of them.

        :raises sqlalchemy.exc.SQLAlchemyError: the database refused; nothing of the transaction counts.
        """
        if self.void_progress:
            void = tables.progress.c.run_id.in_(sorted(self.void_progress))
            connection.execute(sa.delete(tables.progress).where(void))
        _upsert(connection, tables.tasks, list(self.tasks.values()))
        _upsert(connection, tables.attempts, list(self.attempts.values()))
        _upsert(connection, tables.progress, list(self.progress.values()))
        _upsert(connection, tables.attempts, list(self.restored_attempts.values()), is_newer=False)
        if self.jobs:
            statement = sa.update(tables.jobs).where(tables.jobs.c.run_id == sa.bindparam("key"))
            columns = [name for name in next(iter(self.jobs.values())) if name != "run_id"]
            values: dict[str, Any] = {name: sa.bindparam(name) for name in columns}
            rows = [{"key": run_id, **{name: row[name] for name in columns}} for run_id, row in self.jobs.items()]
            connection.execute(statement.values(values), rows)


def _upsert(connection: sa.Connection, table: sa.Table, rows: Sequence[Row], *, is_newer: bool = True) -> None:
    if not rows:
        return
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(table)
    keys = [column.name for column in table.primary_key.columns]
    if is_newer:
        others = {name: statement.excluded[name] for name in rows[0] if name not in keys}
        statement = statement.on_conflict_do_update(index_elements=keys, set_=others)
    else:
        statement = statement.on_conflict_do_nothing(index_elements=keys)
    connection.execute(statement, list(rows))
