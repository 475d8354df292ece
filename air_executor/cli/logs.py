"""`air-executor logs`: the output of tasks, as it was written or as it comes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from air_executor.cli import exit_codes
from air_executor.cli.options import JobName, TaskId, base_path_option, json_option, open_client
from air_executor.cli.output import note, print_json
from air_executor.cli.plain_text import show_plain

if TYPE_CHECKING:
    from air_executor.client import AirExecutorClient, TaskView


@click.command()
@base_path_option
@click.option("-f", "--follow", "must_follow", is_flag=True, help="Go on until the job is over.")
@click.option("-n", "--tail", type=click.IntRange(0), metavar="N", help="Begin with the last N lines of each task.")
@click.option("--attempt", type=click.IntRange(1), metavar="N", help="Of attempt N.  [default: the newest]")
@json_option
@click.argument("job", required=False, type=JobName())
@click.argument("task_ids", metavar="[TASK]...", nargs=-1, type=TaskId())
def logs(
    base_path: Path,
    must_follow: bool,
    tail: int | None,
    attempt: int | None,
    as_json: bool,
    job: str | None,
    task_ids: tuple[str, ...],
) -> None:
    """Print the output of JOB's tasks, by default of all tasks of the last job.

    Output of one task is printed as it was written. Of several, each is headed by the task's id; with -f, each line.
    """
    from air_executor.cli.selection import resolve_job

    client = open_client(base_path)
    name = resolve_job(client, job)
    if as_json:
        _print_json(client, name, _chosen(client, name, task_ids), attempt)
        return
    if not must_follow:
        _print_logs(client, name, _chosen(client, name, task_ids), attempt, tail)
        return
    from air_executor.cli.log_follower import LogFollower

    try:
        LogFollower(client, name, lambda: _chosen(client, name, task_ids), tail=tail).run(
            until_job_is_over=not task_ids
        )
    except KeyboardInterrupt:
        # A person has seen enough; the job runs on, as they know who typed `logs`.
        raise click.exceptions.Exit(exit_codes.INTERRUPTED) from None


def _chosen(client: AirExecutorClient, name: str, task_ids: tuple[str, ...]) -> list[TaskView]:
    from air_executor.errors import JobNotFoundError

    tasks = {task.id: task for task in client.tasks(name)}
    for task_id in task_ids:
        if task_id not in tasks:
            raise JobNotFoundError(f"job {name} has no task {task_id!r}: `air-executor tasks {name}` lists them")
    return [tasks[task_id] for task_id in task_ids] if task_ids else list(tasks.values())


def _print_json(client: AirExecutorClient, name: str, tasks: list[TaskView], attempt: int | None) -> None:
    entries = []
    for task in tasks:
        number = attempt or task.attempt
        if number:
            text = client.read_log(name, task.id, number).decode("utf-8", "replace")
            path = str(client.log_path(name, task.id, number))
            entries.append({"task": task.id, "attempt": number, "path": path, "text": text})
    print_json(entries)


def _print_logs(
    client: AirExecutorClient, name: str, tasks: list[TaskView], attempt: int | None, tail: int | None
) -> None:
    started = [task for task in tasks if task.attempt]
    for task in started:
        number = attempt or task.attempt
        if attempt is not None and number > task.attempt:
            note(f"task {task.id} has had {task.attempt} attempt{'s' if task.attempt > 1 else ''}")
            raise click.exceptions.Exit(exit_codes.NOT_FOUND)
        content = client.read_log(name, task.id, number)
        if tail is not None:
            content = b"".join(content.splitlines(keepends=True)[-tail:]) if tail else b""
        if len(tasks) > 1:
            if not content:
                continue
            click.echo(f"==> {show_plain(task.id)} (attempt {number}) <==")
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        if len(tasks) > 1 and not content.endswith(b"\n"):
            sys.stdout.buffer.write(b"\n")
    sys.stdout.buffer.flush()
    if not started:
        note(
            f"no task of job {name} has started: `air-executor explain {name} {tasks[0].id}` says why"
            if tasks
            else "no tasks"
        )
