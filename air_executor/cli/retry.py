"""`air-executor retry`."""

from __future__ import annotations

from pathlib import Path

import click

from air_executor.cli.options import JobName, TaskId, base_path_option, command_line, json_option, open_client
from air_executor.cli.output import note, print_json
from air_executor.cli.submission import need_manager


@click.command()
@base_path_option
@click.option(
    "--failed", "only_failed", is_flag=True, help="All tasks that failed, and what was skipped because of them."
)
@click.option("--manager/--no-manager", "with_manager", default=True, help="Start a manager if none runs.")
@json_option
@click.argument("job", required=False, type=JobName())
@click.argument("tasks", metavar="[TASK]...", nargs=-1, type=TaskId())
def retry(
    base_path: Path, only_failed: bool, with_manager: bool, as_json: bool, job: str | None, tasks: tuple[str, ...]
) -> None:
    """Run tasks of JOB again that did not complete; a job that was over goes on.

    Without TASK and --failed: all that failed, were skipped or cancelled. JOB is the last one by default; `failed` means
    every job that failed.
    """
    from air_executor.cli.selection import resolve_jobs
    from air_executor.core.states import TaskStatus

    if only_failed and tasks:
        raise click.UsageError("name tasks, or give --failed, not both")
    client = open_client(base_path)
    names = resolve_jobs(client, (job or "last",))
    if tasks and len(names) > 1:
        raise click.UsageError(f"tasks belong to one job, and {job} means {len(names)}")
    again: dict[str, list[str]] = {}
    for name in names:
        views = client.tasks(name)
        unsuccessful = (TaskStatus.FAILED, TaskStatus.SKIPPED, TaskStatus.CANCELLED)
        wanted = (TaskStatus.FAILED,) if only_failed else unsuccessful
        ids = list(tasks) or [view.id for view in views if view.status in wanted]
        if not ids:
            note(
                f"{name}: no task of it {'failed' if only_failed else 'failed, was skipped or cancelled'}; nothing to do"
            )
            continue
        client.retry(name, ids if tasks or only_failed else None)
        again[name] = ids
    if as_json:
        print_json({"retried": again})
    else:
        for name, ids in again.items():
            click.echo(
                f"{name}: {len(ids)} task{'s' if len(ids) > 1 else ''} again; `{command_line('wait', name)}` follows"
            )
    if with_manager and again:
        need_manager(client, job_name=next(iter(again)))
