"""`air-executor submit`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from air_executor.cli.options import base_path_option, command_line, json_option, open_client
from air_executor.cli.output import note, print_json
from air_executor.cli.submission import (
    WordsCommand,
    each_line_option,
    job_options,
    need_manager,
    submit_input,
    task_options,
    words_argument,
)


@click.command(cls=WordsCommand)
@base_path_option
@job_options
@click.option("--open", "is_open", is_flag=True, help="Wait for more tasks (`queue`) until `close`.")
@task_options
@each_line_option
@json_option
@words_argument
def submit(
    base_path: Path,
    words: tuple[str, ...],
    each_line: str | None,
    is_open: bool,
    with_manager: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Submit a job and print its name. When it returns, the job is on disk.

    It is a command, or a file of tasks: JSON lines, each an object as in tasks.json or a list of words; - is standard
    input. Tasks run here, with these variables.
    """
    client = open_client(base_path, create=True)
    name, count = submit_input(client, words, each_line, given, is_open=is_open)
    if as_json:
        print_json({"job": name, "tasks": count})
    else:
        click.echo(name)
    if is_open:
        note(
            f"it is open: `{command_line('queue', '--job', name, '--', 'COMMAND')}` adds tasks, `{command_line('close', name)}` ends it"
        )
    if with_manager:
        need_manager(client, max_parallel=given.get("max_parallel"), job_name=name)
