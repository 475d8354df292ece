"""`air-executor tasks` and `results`."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from air_executor.cli.options import JobName, base_path_option, json_option, open_client
from air_executor.cli.output import format_table, print_json
from air_executor.cli.plain_text import show_command, show_plain
from air_executor.cli.watching import show, watch_option
from air_executor.core.quantities import show_duration
from air_executor.core.states import TaskStatus

if TYPE_CHECKING:
    from air_executor.client import TaskView

_COLUMNS = ("TASK", "STATUS", "TRY", "TIME", "EXIT", "COMMAND")


@click.command()
@base_path_option
@json_option
@watch_option
@click.option(
    "-s",
    "--status",
    "statuses",
    multiple=True,
    type=click.Choice([each.value for each in TaskStatus]),
    help="Only these.",
)
@click.option("-q", "--quiet", is_flag=True, help="Print ids only.")
@click.argument("job", required=False, type=JobName())
def tasks(
    base_path: Path, as_json: bool, must_watch: bool, statuses: tuple[str, ...], quiet: bool, job: str | None
) -> None:
    """List the tasks of JOB, by default the last one."""
    from air_executor.cli.selection import resolve_job

    client = open_client(base_path)
    name = resolve_job(client, job)

    def read() -> list[TaskView]:
        return [task for task in client.tasks(name) if not statuses or task.status.value in statuses]

    def lines() -> list[str]:
        views = read()
        if quiet:
            return [task.id for task in views]
        return format_table(_COLUMNS, [_row(task) for task in views], sys.stdout)

    if as_json:
        print_json(read())
    else:
        show(lines, must_watch=must_watch)


def _row(task: TaskView) -> tuple[str, ...]:
    exit_text = (
        f"signal {task.signal}"
        if task.signal is not None
        else str(task.exit_code)
        if task.exit_code is not None
        else "-"
    )
    return (
        show_plain(task.id),
        task.status.value,
        str(task.attempt) if task.attempt else "-",
        _time_of(task),
        exit_text,
        show_command(task.command, task.args),
    )


def _time_of(task: TaskView) -> str:
    if task.started_at is None:
        return "-"
    end = task.completed_at or (datetime.now(task.started_at.tzinfo) if task.status is TaskStatus.RUNNING else None)
    return show_duration((end - task.started_at).total_seconds()) if end is not None else "-"
