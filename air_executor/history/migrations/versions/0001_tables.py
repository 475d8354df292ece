"""Jobs, labels, tasks, attempts, progress."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_RUN_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make them."""
    op.create_table(
        "air_executor_jobs",
        sa.Column("run_id", _RUN_ID, autoincrement=True, nullable=False),
        sa.Column("root_id", sa.String(32), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("base_path", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("job_name", sa.String(200), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("accepted_at", _INSTANT, nullable=False),
        sa.Column("started_at", _INSTANT),
        sa.Column("updated_at", _INSTANT, nullable=False),
        sa.Column("ended_at", _INSTANT),
        sa.Column("duration_s", sa.Float()),
        *_counts("total", "pending", "running", "completed", "failed", "cancelled", "skipped"),
        sa.Column("journal", sa.String(16), nullable=False),
        sa.Column("journal_bytes", sa.BigInteger(), nullable=False),
        sa.Column("journal_checksum", sa.BigInteger(), nullable=False),
        sa.Column("progress_step_s", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", name="pk_air_executor_jobs"),
        sa.UniqueConstraint("root_id", "job_id", "created_at", "generation", name="uq_air_executor_jobs"),
    )
    op.create_index("ix_air_executor_jobs_job_name_created_at", "air_executor_jobs", ["job_name", "created_at"])
    op.create_index("ix_air_executor_jobs_updated_at", "air_executor_jobs", ["updated_at"])
    op.create_table(
        "air_executor_labels",
        sa.Column("run_id", _RUN_ID, nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("value", sa.String(1000), nullable=False),
        *_keys("air_executor_labels", "name"),
    )
    op.create_index("ix_air_executor_labels_name_value", "air_executor_labels", ["name", "value"])
    op.create_table(
        "air_executor_tasks",
        sa.Column("run_id", _RUN_ID, nullable=False),
        sa.Column("task_id", sa.String(200), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("command", sa.Text(), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.String(16)),
        sa.Column("error", sa.Text()),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("started_at", _INSTANT),
        sa.Column("ended_at", _INSTANT),
        sa.Column("duration_s", sa.Float()),
        *_keys("air_executor_tasks", "task_id"),
    )
    op.create_index("ix_air_executor_tasks_task_id", "air_executor_tasks", ["task_id"])
    op.create_table(
        "air_executor_attempts",
        sa.Column("run_id", _RUN_ID, nullable=False),
        sa.Column("task_id", sa.String(200), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("launched_at", _INSTANT),
        sa.Column("started_at", _INSTANT),
        sa.Column("ended_at", _INSTANT),
        sa.Column("duration_s", sa.Float()),
        sa.Column("outcome", sa.String(16)),
        sa.Column("exit_code", sa.Integer()),
        sa.Column("signal", sa.Integer()),
        sa.Column("cpu_s", sa.Float()),
        sa.Column("peak_memory_bytes", sa.BigInteger()),
        sa.Column("error", sa.Text()),
        sa.Column("killed", sa.Text()),
        *_keys("air_executor_attempts", "task_id", "attempt"),
    )
    op.create_table(
        "air_executor_progress",
        sa.Column("run_id", _RUN_ID, nullable=False),
        sa.Column("point", sa.Integer(), nullable=False),
        sa.Column("job_name", sa.String(200), nullable=False),
        sa.Column("timestamp", _INSTANT, nullable=False),
        *_counts("total", "completed", "running", "failed", "pending", "cancelled", "skipped"),
        *_keys("air_executor_progress", "point"),
    )
    op.create_index("ix_air_executor_progress_job_name_timestamp", "air_executor_progress", ["job_name", "timestamp"])


def _counts(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(f"{name}_tasks", sa.Integer(), nullable=False) for name in names]


def _keys(table: str, *names: str) -> tuple[sa.Constraint, ...]:
    return (
        sa.PrimaryKeyConstraint("run_id", *names, name=f"pk_{table}"),
        sa.ForeignKeyConstraint(["run_id"], ["air_executor_jobs.run_id"], name=f"fk_{table}", ondelete="CASCADE"),
    )
