"""`air-executor explain`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from air_executor.cli.options import TaskId, base_path_option, json_option, open_client
from air_executor.cli.output import colour, print_json
from air_executor.cli.plain_text import split_error

if TYPE_CHECKING:
    from air_executor.client import TaskView


@click.command()
@base_path_option
@json_option
@click.argument("words", metavar="[JOB] TASK", nargs=-1, required=True, type=TaskId())
def explain(base_path: Path, as_json: bool, words: tuple[str, ...]) -> None:
    """Say why TASK has not run, or how it ended. JOB is the last one by default."""
    from air_executor.cli.selection import resolve_job
    from air_executor.core.explanation import JobFacts, explain_task
    from air_executor.errors import JobNotFoundError
    from air_executor.store.records import utc_now

    if len(words) > 2:
        raise click.UsageError("give a job and a task, or only a task of the last job")
    client = open_client(base_path)
    name = resolve_job(client, words[0] if len(words) == 2 else None)
    tasks: dict[str, TaskView] = {task.id: task for task in client.tasks(name)}
    task = tasks.get(words[-1])
    if task is None:
        raise JobNotFoundError(f"job {name} has no task {words[-1]!r}: `air-executor tasks {name}` lists them")
    job = client.job(name)
    facts = JobFacts(job.state, job.error, job.options.max_parallel)
    reasons = explain_task(task, tasks, facts, client.manager_facts(job), utc_now())
    if as_json:
        entries = [{"cause": each.cause.value, "text": each.text, "remedy": each.remedy} for each in reasons]
        print_json({"job": name, "task": task.id, "status": task.status.value, "reasons": entries})
        return
    click.echo(f"{name} {task.id} is {colour(task.status.value, sys.stdout)}:")
    for reason in reasons:
        cause, last_lines = split_error(reason.text)
        click.echo("\n    ".join((f"  {cause}", *last_lines)))
        if reason.remedy:
            click.echo(f"    {reason.remedy}")
