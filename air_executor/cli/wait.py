"""`air-executor wait`."""

from __future__ import annotations

import time
from pathlib import Path

import click

from air_executor.cli import exit_codes
from air_executor.cli.options import Duration, base_path_option, jobs_argument, json_option, open_client
from air_executor.cli.output import note, print_json


@click.command()
@base_path_option
@click.option("--timeout", "timeout_s", type=Duration(), help="Give up after this long, with exit code 124.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing; the exit code tells.")
@json_option
@jobs_argument()
def wait(base_path: Path, timeout_s: float | None, quiet: bool, as_json: bool, selectors: tuple[str, ...]) -> None:
    """Wait until jobs are over (by default the last), and exit with the status of the worst: 0, 1 failed, 3 cancelled."""
    from air_executor.cli.following import Follower, runs_on, summarise
    from air_executor.cli.progress import make_progress
    from air_executor.cli.selection import resolve_jobs

    client = open_client(base_path)
    names = resolve_jobs(client, selectors or ("last",))
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    views = []
    try:
        for name in names:
            if deadline is not None:
                view = client.wait(name, max(deadline - time.monotonic(), 0))
                if not view.state.is_terminal:
                    note(f"job {name} is {view.state.value} after {timeout_s:g} s; it goes on")
                    raise click.exceptions.Exit(exit_codes.TIMED_OUT)
            else:
                if not quiet and not client.manager_is_running() and not client.job(name).state.is_terminal:
                    note(f"no manager runs on {client.base_path}: `air-executor manager start` starts one")
                with make_progress(is_quiet=quiet) as progress:
                    view = Follower(client, name, progress, shows_output=False).run()
            views.append(view)
            if not quiet:
                note(summarise(view))
    except KeyboardInterrupt:
        note(f"\n{runs_on(name)}")
        raise click.exceptions.Exit(exit_codes.INTERRUPTED) from None
    if as_json:
        print_json(views)
    raise click.exceptions.Exit(exit_codes.of_jobs([view.state for view in views]))
