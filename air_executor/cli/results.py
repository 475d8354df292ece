"""`air-executor results`: what tasks left in $AIR_EXECUTOR_RESULT_FILE."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from air_executor.cli import exit_codes
from air_executor.cli.options import JobName, TaskId, base_path_option, open_client
from air_executor.cli.output import note, print_json


@click.command()
@base_path_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: results by task.")
@click.argument("job", required=False, type=JobName())
@click.argument("task_ids", metavar="[TASK]...", nargs=-1, type=TaskId())
def results(base_path: Path, as_json: bool, job: str | None, task_ids: tuple[str, ...]) -> None:
    """Print the results of JOB's tasks as JSON lines, by default of the last job; of one TASK its result alone.

    A task leaves a result by writing JSON to the file that $AIR_EXECUTOR_RESULT_FILE names.
    """
    from air_executor.cli.selection import resolve_job
    from air_executor.errors import DamagedFileError, JobNotFoundError

    client = open_client(base_path)
    name = resolve_job(client, job)
    known = [task.id for task in client.tasks(name) if task.attempt]
    found = {}
    damaged = []
    for task_id in task_ids or known:
        try:
            result = client.result(name, task_id)
        except DamagedFileError as error:
            # That of one task must not hide those of the others.
            damaged.append(str(error))
            continue
        if result is not None:
            found[task_id] = result
    if damaged and len(task_ids) == 1:
        raise DamagedFileError(damaged[0])
    missing = [task_id for task_id in task_ids if task_id not in found]
    if missing and not damaged:
        raise JobNotFoundError(f"task {missing[0]} of job {name} left no result ($AIR_EXECUTOR_RESULT_FILE)")
    if as_json:
        print_json(found)
    elif len(task_ids) == 1:
        click.echo(msgspec.json.encode(found[task_ids[0]]).decode())
    else:
        for task_id, result in found.items():
            click.echo(msgspec.json.encode({"task": task_id, "result": result}).decode())
    for error_text in damaged:
        note(error_text)
    if damaged:
        raise click.exceptions.Exit(exit_codes.IMPOSSIBLE)
