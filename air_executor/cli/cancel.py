"""`air-executor cancel`."""

from __future__ import annotations

from pathlib import Path

import click

from air_executor.cli.options import base_path_option, command_line, jobs_argument, json_option, open_client
from air_executor.cli.output import note, print_json


@click.command()
@base_path_option
@click.option("--reason", default="", metavar="TEXT", help="Why; it is kept with the job.")
@click.option("--wait", "must_wait", is_flag=True, help="Return when nothing of them runs any more.")
@json_option
@jobs_argument(required=True)
def cancel(base_path: Path, reason: str, must_wait: bool, as_json: bool, selectors: tuple[str, ...]) -> None:
    """End jobs and every process of them; jobs that are over are left as they are."""
    from air_executor.cli.selection import resolve_jobs

    client = open_client(base_path)
    names = resolve_jobs(client, selectors)
    over = [name for name in names if client.job(name).state.is_terminal]
    asked = [name for name in names if name not in over]
    for name in asked:
        client.cancel(name, reason)
    if asked and not client.manager_is_running():
        note(
            f"no manager runs on {client.base_path}; what was asked is done when one does (`{command_line('manager', 'start')}`)"
        )
    elif must_wait:
        for name in asked:
            client.wait(name)
    if as_json:
        print_json({"cancelled": asked, "over": over})
        return
    for name in asked:
        click.echo(
            f"{name}: {'cancelled' if must_wait and client.job(name).state.value == 'cancelled' else 'is being cancelled'}"
        )
    for name in over:
        click.echo(f"{name}: is {client.job(name).state.value} already")
