"""What people ask of the history. Rows come as dictionaries, with the columns' names of docs/history.md; instants are aware, in UTC."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from air_executor.history import schema, tables
from air_executor.history.database import Database
from air_executor.history.location import find_history_url
from air_executor.history.run_record import REMOVED, VOIDED
from air_executor.store.root import Root

Row = dict[str, Any]
_INTERNAL = ("journal", "journal_bytes", "journal_checksum", "progress_step_s")
_PRUNED_AT_ONCE = 500


class History:
    """The history of a root, or of all that share a database; for reading, and for removing what is old."""

    def __init__(self, root: Root, *, read_only: bool = True) -> None:
        """Open it.

        :raises HistoryError: there is none, its schema is another one, or it cannot be reached.
        """
        self._database = Database(root, find_history_url(root), read_only=read_only)
        schema.check(self._database)

    def runs(
        self,
        *,
        name: str | None = None,
        states: Sequence[str] = (),
        since: datetime | None = None,
        labels: Mapping[str, str] | None = None,
        limit: int | None = None,
    ) -> list[Row]:
        """Return runs of jobs, those created last first.

        :param name: a name, or a glob as `nightly-*`.
        :param since: only those that changed at or after this instant.
        :param labels: only those that have all of these.
        :raises HistoryError: the database cannot be reached.
        """
        jobs = tables.jobs
        query = sa.select(*(column for column in jobs.c if column.name not in _INTERNAL))
        query = query.order_by(jobs.c.created_at.desc(), jobs.c.run_id.desc())
        if name is not None:
            query = query.where(_matches(jobs.c.job_name, name))
        if states:
            query = query.where(jobs.c.state.in_(states))
        if since is not None:
            query = query.where(jobs.c.updated_at >= since)
        for label, value in (labels or {}).items():
            query = query.where(jobs.c.run_id.in_(_runs_with(label, value)))
        found: list[Row] = []
        with self._database.begin() as connection:
            for row in connection.execute(query).mappings():
                if name is None or fnmatch.fnmatchcase(row["job_name"], name):
                    found.append(dict(row))
                if len(found) == limit:
                    break
        return found

    def labels(self, run_id: int) -> dict[str, str]:
        """Return the labels of a run."""
        table = tables.labels
        query = sa.select(table.c.name, table.c.value).where(table.c.run_id == run_id).order_by(table.c.name)
        with self._database.begin() as connection:
            return {row.name: row.value for row in connection.execute(query)}

    def tasks(self, run_id: int) -> list[Row]:
        """Return the tasks of a run, in the job's order."""
        return self._children(tables.tasks, run_id, tables.tasks.c.position)

    def attempts(self, run_id: int) -> list[Row]:
        """Return the attempts of a run, in the order of their launches."""
        table = tables.attempts
        return self._children(table, run_id, table.c.launched_at, table.c.task_id, table.c.attempt)

    def progress(self, run_id: int) -> list[Row]:
        """Return the points of a run's progress, oldest first: at most 240."""
        return self._children(tables.progress, run_id, tables.progress.c.point)

    def slowest(self, *, name: str | None, since: datetime | None, limit: int) -> list[Row]:
        """Return the attempts that took longest."""
        jobs, tasks, attempts = tables.jobs, tables.tasks, tables.attempts
        query = (
            sa.select(jobs.c.job_name, attempts, tasks.c.command)
            .join_from(attempts, jobs, attempts.c.run_id == jobs.c.run_id)
            .join(tasks, _same_task(tasks, attempts))
            .where(attempts.c.duration_s.is_not(None))
            .order_by(attempts.c.duration_s.desc(), attempts.c.run_id, attempts.c.task_id)
        )
        return self._some(query, name, since, limit)

    def failures(self, *, name: str | None, since: datetime | None, limit: int) -> list[Row]:
        """Return the commands whose attempts failed, with how often, how, and the newest error; most frequent first."""
        jobs, tasks, attempts = tables.jobs, tables.tasks, tables.attempts
        count, last = sa.func.count().label("attempts"), sa.func.max(attempts.c.ended_at, type_=tables.UtcDateTime())
        query = (
            sa.select(
                tasks.c.command,
                attempts.c.outcome,
                count,
                sa.func.count(sa.distinct(attempts.c.run_id)).label("runs"),
                last.label("last_at"),
                sa.func.max(jobs.c.job_name).label("job_name"),
                sa.func.max(attempts.c.task_id).label("task_id"),
                sa.func.max(attempts.c.error).label("error"),
            )
            .join_from(attempts, jobs, attempts.c.run_id == jobs.c.run_id)
            .join(tasks, _same_task(tasks, attempts))
            .where(attempts.c.outcome.not_in(("completed", "cancelled", REMOVED, VOIDED)))
            .group_by(tasks.c.command, attempts.c.outcome)
            .order_by(count.desc(), last.desc())
        )
        return self._some(query, name, since, limit)

    def select(self, statement: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Return the columns and rows of a statement of SQL. The database refuses one that changes anything.

        :raises HistoryError: it is not valid, or was refused.
        """
        with self._database.begin() as connection:
            result = connection.execution_options(no_parameters=True).exec_driver_sql(statement)
            if not result.returns_rows:
                return [], []
            return list(result.keys()), [tuple(row) for row in result]

    def prune(self, before: datetime, *, dry_run: bool = False) -> int:
        """Remove runs that ended before an instant, with all that belongs to them, and return how many.

        Runs that have not ended stay, however old.
        """
        jobs = tables.jobs
        removed = jobs.c.state == REMOVED
        old = sa.or_(jobs.c.ended_at < before, sa.and_(removed, jobs.c.updated_at < before))
        with self._database.begin() as connection:
            run_ids = connection.execute(sa.select(jobs.c.run_id).where(old).order_by(jobs.c.run_id)).scalars().all()
        if not dry_run:
            for begin in range(0, len(run_ids), _PRUNED_AT_ONCE):
                # The writer waits for no more than some of them.
                with self._database.begin() as connection:
                    some = run_ids[begin : begin + _PRUNED_AT_ONCE]
                    for table in (tables.progress, tables.attempts, tables.tasks, tables.labels, jobs):
                        connection.execute(sa.delete(table).where(table.c.run_id.in_(some)))
        return len(run_ids)

    def close(self) -> None:
        """Close its connections."""
        self._database.close()

    def _children(self, table: sa.Table, run_id: int, *order: sa.Column[Any]) -> list[Row]:
        query = sa.select(table).where(table.c.run_id == run_id).order_by(*order)
        with self._database.begin() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def _some(self, query: sa.Select[Any], name: str | None, since: datetime | None, limit: int) -> list[Row]:
        if name is not None:
            query = query.where(_matches(tables.jobs.c.job_name, name))
        if since is not None:
            query = query.where(tables.attempts.c.ended_at >= since)
        with self._database.begin() as connection:
            return [dict(row) for row in connection.execute(query.limit(limit)).mappings()]


def _matches(column: sa.Column[str], glob: str) -> sa.ColumnElement[bool]:
    """Return what finds at least what a glob means."""
    pattern = []
    is_in_set = False
    for char in glob:
        if char == "[":
            is_in_set = True
            pattern.append("_")
        elif char == "]" and is_in_set:
            is_in_set = False
        elif not is_in_set:
            pattern.append({"*": "%", "?": "_", "%": "\\%", "_": "\\_", "\\": "\\\\"}.get(char, char))
    return column.like("".join(pattern), escape="\\")


def _runs_with(label: str, value: str) -> sa.Select[Any]:
    table = tables.labels
    return sa.select(table.c.run_id).where(table.c.name == label, table.c.value == value)


def _same_task(tasks: sa.Table, attempts: sa.Table) -> sa.ColumnElement[bool]:
    return sa.and_(tasks.c.run_id == attempts.c.run_id, tasks.c.task_id == attempts.c.task_id)
