"""`air-executor queue` and `close`: jobs that grow."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from air_executor.cli.options import JobName, TaskId, base_path_option, jobs_argument, json_option, open_client
from air_executor.cli.output import print_json
from air_executor.cli.submission import (
    WordsCommand,
    each_line_option,
    ids_of,
    read_input,
    task_fields,
    task_options,
    words_argument,
)


@click.command(cls=WordsCommand)
@base_path_option
@click.option("--job", type=JobName(), help="The job.  [default: $AIR_EXECUTOR_JOB, the one of the task that calls]")
@click.option(
    "--id", "task_id", metavar="TASK", help="Id of the task, for one command.  [default: made from the command]"
)
@click.option(
    "--after", "dependencies", multiple=True, type=TaskId(), metavar="TASK", help="Start after TASK completed."
)
@click.option("--priority", type=int, metavar="N", help="Tasks of higher priority start first within the job.")
@task_options
@each_line_option
@json_option
@words_argument
def queue(
    base_path: Path,
    job: str | None,
    task_id: str | None,
    dependencies: tuple[str, ...],
    priority: int | None,
    words: tuple[str, ...],
    each_line: str | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Add tasks to a job that is not over, and print their ids.

    Without a command, tasks are read as JSON lines from standard input. An id is made from the command and the
    directory unless it is given: queuing the same again adds nothing, so a task that is retried may queue anew.
    """
    from air_executor.cli.selection import JOB_VARIABLE, resolve_job
    from air_executor.cli.task_sources import WITHOUT_ID, with_own_ids

    word = job or os.environ.get(JOB_VARIABLE)
    if not word:
        raise click.UsageError("which job? Name it with --job; inside a task it is known ($AIR_EXECUTOR_JOB)")
    if task_id is not None and (each_line is not None or not words):
        raise click.UsageError("--id is for one command; give tasks of a file an `id` of their own")
    client = open_client(base_path)
    # The job's own directory is where it was submitted; whoever queues means the one where they are.
    fields = {"cwd": os.getcwd(), **WITHOUT_ID, **task_fields(given)}
    fields |= {"id": task_id} if task_id is not None else {}
    fields |= {"priority": priority} if priority is not None else {}
    fields |= {"dependencies": dependencies} if dependencies else {}
    name = resolve_job(client, word)
    tasks = with_own_ids(read_input(words, each_line, fields).tasks)
    # The same command twice in one file is the same task.
    tasks = tuple({task.id: task for task in tasks}.values())
    client.queue(name, tasks)
    if as_json:
        print_json({"job": name, "tasks": ids_of(tasks)})
    else:
        click.echo("\n".join(ids_of(tasks)))


@click.command()
@base_path_option
@json_option
@jobs_argument(required=True)
def close(base_path: Path, selectors: tuple[str, ...], as_json: bool) -> None:
    """Let open jobs finish when their tasks have."""
    from air_executor.cli.selection import resolve_jobs

    client = open_client(base_path)
    names = resolve_jobs(client, selectors)
    for name in names:
        client.close(name)
    if as_json:
        print_json({"closed": names})
