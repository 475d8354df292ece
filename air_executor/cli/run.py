"""`air-executor run`: submit a job and stay until it is over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from air_executor.cli import exit_codes
from air_executor.cli.options import base_path_option, json_option, open_client
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
@task_options
@each_line_option
@click.option(
    "--output/--no-output",
    "shows_output",
    default=None,
    help="Print what tasks print: of one task as it comes, of several each at its end.  [default: of one task]",
)
@click.option("-q", "--quiet", is_flag=True, help="Say nothing; the exit code tells.")
@json_option
@words_argument
def run(
    base_path: Path,
    words: tuple[str, ...],
    each_line: str | None,
    with_manager: bool,
    shows_output: bool | None,
    quiet: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Submit a job, show its progress, and exit with its status: 0 completed, 1 failed, 3 cancelled.

    It is a command, or a file of tasks: JSON lines, each an object as in tasks.json or a list of words; - is standard
    input. Tasks run here, with these variables. Ctrl-C stops watching; the job runs on.
    """
    from air_executor.cli.following import runs_on, summarise

    client = open_client(base_path, create=True)
    name, count = submit_input(client, words, each_line, given, is_open=False)
    try:
        if with_manager:
            need_manager(client, max_parallel=given.get("max_parallel"), job_name=name)
        elif not client.manager_is_running() and not quiet:
            note(f"no manager runs on {client.base_path}: job {name} waits for one")
        is_live = count == 1 and shows_output is not False and not quiet and not as_json
        if not is_live and not quiet:
            note(f"job {name}: {count} task{'s' if count > 1 else ''}")
        view = _stay(client, name, is_live=is_live, shows_output=bool(shows_output) and not as_json, quiet=quiet)
    except KeyboardInterrupt:
        note(f"\n{runs_on(name)}")
        raise click.exceptions.Exit(exit_codes.INTERRUPTED) from None
    if as_json:
        print_json(view)
    if not quiet and not (is_live and view.state.value == "completed"):
        note(summarise(view))
    raise click.exceptions.Exit(exit_codes.of_jobs([view.state]))


def _stay(client: Any, name: str, *, is_live: bool, shows_output: bool, quiet: bool) -> Any:
    from air_executor.cli.following import Follower, describe_failure, follow_output
    from air_executor.cli.progress import make_progress

    if not is_live:
        with make_progress(is_quiet=quiet) as progress:
            return Follower(client, name, progress, shows_output=shows_output).run()
    view = follow_output(client, name)
    for task in client.tasks(name):
        if task.status.value == "failed":
            note(describe_failure(name, task, with_lines=False))
    return view
