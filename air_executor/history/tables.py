"""The tables of the history, as they are in the newest schema; `migrations/` leads there. The names are a contract: docs/history.md."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s",
        "fk": "fk_%(table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class UtcDateTime(sa.types.TypeDecorator[datetime]):
    """An aware instant in UTC, also in SQLite, which knows no zones."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:  # noqa: ARG002 # SQLAlchemy's signature
        """Return the instant in UTC."""
        return None if value is None else value.astimezone(timezone.utc)

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:  # noqa: ARG002 # SQLAlchemy's signature
        """Return the instant as aware."""
        if value is None:
            return None
        return value.replace(tzinfo=timezone.utc) if value.tzinfo is None else value.astimezone(timezone.utc)


# SQLite numbers rows by itself only in a column of the type INTEGER.
_RunId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _run_id() -> sa.Column[int]:
    return sa.Column("run_id", _RunId, sa.ForeignKey("air_executor_jobs.run_id", ondelete="CASCADE"), primary_key=True)


jobs = sa.Table(
    "air_executor_jobs",
    metadata,
    sa.Column("run_id", _RunId, primary_key=True, autoincrement=True),
    sa.Column("root_id", sa.String(32), nullable=False),
    sa.Column("host", sa.String(255), nullable=False),
    sa.Column("base_path", sa.Text(), nullable=False),
    sa.Column("job_id", sa.Text(), nullable=False),
    sa.Column("job_name", sa.String(200), nullable=False),
    # 1, and one more each time that an older state of the job was put back, as by `git checkout`.
    sa.Column("generation", sa.Integer(), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("error", sa.Text()),
    sa.Column("created_at", UtcDateTime(), nullable=False),
    sa.Column("accepted_at", UtcDateTime(), nullable=False),
    sa.Column("started_at", UtcDateTime()),
    sa.Column("updated_at", UtcDateTime(), nullable=False),
    sa.Column("ended_at", UtcDateTime()),
    sa.Column("duration_s", sa.Float()),
    sa.Column("total_tasks", sa.Integer(), nullable=False),
    sa.Column("pending_tasks", sa.Integer(), nullable=False),
    sa.Column("running_tasks", sa.Integer(), nullable=False),
    sa.Column("completed_tasks", sa.Integer(), nullable=False),
    sa.Column("failed_tasks", sa.Integer(), nullable=False),
    sa.Column("cancelled_tasks", sa.Integer(), nullable=False),
    sa.Column("skipped_tasks", sa.Integer(), nullable=False),
    # How far the journal is recorded: its first line's checksum, bytes, and the checksum of these bytes.
    sa.Column("journal", sa.String(16), nullable=False),
    sa.Column("journal_bytes", sa.BigInteger(), nullable=False),
    sa.Column("journal_checksum", sa.BigInteger(), nullable=False),
    sa.Column("progress_step_s", sa.Float(), nullable=False),
    sa.UniqueConstraint("root_id", "job_id", "created_at", "generation"),
    sa.Index(None, "job_name", "created_at"),
    sa.Index(None, "updated_at"),
)

labels = sa.Table(
    "air_executor_labels",
    metadata,
    _run_id(),
    sa.Column("name", sa.String(200), primary_key=True),
    sa.Column("value", sa.String(1000), nullable=False),
    sa.Index(None, "name", "value"),
)

tasks = sa.Table(
    "air_executor_tasks",
    metadata,
    _run_id(),
    sa.Column("task_id", sa.String(200), primary_key=True),
    # Order in the job, from 0.
    sa.Column("position", sa.Integer(), nullable=False),
    sa.Column("command", sa.Text(), nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("attempts", sa.Integer(), nullable=False),
    sa.Column("outcome", sa.String(16)),
    sa.Column("error", sa.Text()),
    sa.Column("created_at", UtcDateTime(), nullable=False),
    sa.Column("started_at", UtcDateTime()),
    sa.Column("ended_at", UtcDateTime()),
    sa.Column("duration_s", sa.Float()),
    sa.Index(None, "task_id"),
)

attempts = sa.Table(
    "air_executor_attempts",
    metadata,
    _run_id(),
    sa.Column("task_id", sa.String(200), primary_key=True),
    sa.Column("attempt", sa.Integer(), primary_key=True),
    sa.Column("launched_at", UtcDateTime()),
    sa.Column("started_at", UtcDateTime()),
    sa.Column("ended_at", UtcDateTime()),
    sa.Column("duration_s", sa.Float()),
    # NULL while it runs; `voided`: it never started, and another attempt takes its place; `removed`: it ran when the run was removed.
    sa.Column("outcome", sa.String(16)),
    sa.Column("exit_code", sa.Integer()),
    sa.Column("signal", sa.Integer()),
    sa.Column("cpu_s", sa.Float()),
    sa.Column("peak_memory_bytes", sa.BigInteger()),
    sa.Column("error", sa.Text()),
    sa.Column("killed", sa.Text()),
)

progress = sa.Table(
    "air_executor_progress",
    metadata,
    _run_id(),
    sa.Column("point", sa.Integer(), primary_key=True),
    sa.Column("job_name", sa.String(200), nullable=False),
    sa.Column("timestamp", UtcDateTime(), nullable=False),
    sa.Column("total_tasks", sa.Integer(), nullable=False),
    sa.Column("completed_tasks", sa.Integer(), nullable=False),
    sa.Column("running_tasks", sa.Integer(), nullable=False),
    sa.Column("failed_tasks", sa.Integer(), nullable=False),
    sa.Column("pending_tasks", sa.Integer(), nullable=False),
    sa.Column("cancelled_tasks", sa.Integer(), nullable=False),
    sa.Column("skipped_tasks", sa.Integer(), nullable=False),
    sa.Index(None, "job_name", "timestamp"),
)
