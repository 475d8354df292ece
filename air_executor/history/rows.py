"""Rows that one transaction writes: collected by key, so that what changes often is written once."""

from __future__ import annotations

from datetime import timezone
from operator import itemgetter
from typing import Any

import msgspec
import sqlalchemy as sa

from air_executor.history import tables

Row = dict[str, Any]
_ROWS_AT_ONCE = 5000


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


def _upsert(connection: sa.Connection, table: sa.Table, rows: list[Row], *, is_newer: bool = True) -> None:
    """Insert rows; those that are there are changed, or left if what is there is newer.

    Past SQLAlchemy's own handling of parameters, which takes longer than the database: this runs beside people's tasks.
    """
    columns = ", ".join(table.columns.keys())
    keys = table.primary_key.columns.keys()
    others = ", ".join(f"{name} = excluded.{name}" for name in table.columns.keys() if name not in keys)  # noqa: SIM118 # no dictionary
    conflict = f"ON CONFLICT ({', '.join(keys)}) DO {f'UPDATE SET {others}' if is_newer else 'NOTHING'}"
    for begin in range(0, len(rows), _ROWS_AT_ONCE):
        some = rows[begin : begin + _ROWS_AT_ONCE]
        if connection.dialect.name == "postgresql":
            source = f"SELECT {columns} FROM json_populate_recordset(NULL::{table.name}, %s)"
            document = msgspec.json.encode(some).decode()
            connection.exec_driver_sql(f"INSERT INTO {table.name} ({columns}) {source} {conflict}", (document,))
        else:
            source = f"VALUES ({', '.join('?' * len(table.columns))})"
            connection.exec_driver_sql(
                f"INSERT INTO {table.name} ({columns}) {source} {conflict}", _for_sqlite(table, some)
            )


def _for_sqlite(table: sa.Table, rows: list[Row]) -> list[tuple[Any, ...]]:
    """Return rows with instants as SQLAlchemy writes them there: in UTC, without a zone."""
    instants = [column.name for column in table.columns if isinstance(column.type, tables.UtcDateTime)]
    for row in rows:
        for name in instants:
            instant = row[name]
            if instant is not None:
                in_utc = instant if instant.tzinfo is timezone.utc else instant.astimezone(timezone.utc)
                row[name] = in_utc.replace(tzinfo=None).isoformat(" ", "microseconds")
    return list(map(itemgetter(*table.columns.keys()), rows))
