"""Jobs as lines: the table of several, the description of one."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from air_executor.cli.output import colour, format_table
from air_executor.cli.plain_text import show_instant, split_error
from air_executor.client import JobView
from air_executor.core.quantities import show_duration

_COLUMNS = ("JOB", "STATE", "TASKS", "DONE", "RUNNING", "FAILED", "UPDATED")


def job_lines(jobs: Sequence[JobView]) -> list[str]:
    """Return a table of jobs; `*` marks those that are open."""
    return format_table(_COLUMNS, [_row(job) for job in jobs], sys.stdout)


def describe_job(job: JobView) -> list[str]:
    """Return what state.json says of a job, for people."""
    took = show_duration((job.updated_at - job.created_at).total_seconds())
    lines = [f"job:      {job.name}", f"state:    {colour(job.state.value, sys.stdout)}{_open(job)}"]
    if job.error:
        lines += [f"error:    {split_error(job.error)[0]}"]
    lines.append("tasks:    " + ", ".join(f"{number} {status}" for status, number in job.tasks.items() if number))
    lines.append(f"created:  {show_instant(job.created_at)}")
    lines.append(
        f"{'ended' if job.state.is_terminal else 'changed'}:{'':<{4 if job.state.is_terminal else 2}}{show_instant(job.updated_at)} ({took} later)"
    )
    options = [
        (name, getattr(job.options, name))
        for name in ("max_parallel", "priority", "fail_fast", "tolerated_failures")
        if getattr(job.options, name)
    ]
    if options:
        lines.append(
            "options:  " + ", ".join(f"{name} {value}" if value is not True else name for name, value in options)
        )
    if job.labels:
        lines.append("labels:   " + ", ".join(f"{name}={value}" for name, value in job.labels.items()))
    return lines


def _open(job: JobView) -> str:
    return "*" if job.options.is_open and not job.state.is_terminal else ""


def _row(job: JobView) -> tuple[str, ...]:
    def count(status: str) -> str:
        return str(job.tasks.get(status, 0))

    return (
        job.name + _open(job),
        job.state.value,
        count("total"),
        count("completed"),
        count("running"),
        count("failed"),
        show_instant(job.updated_at),
    )
