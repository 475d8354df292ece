"""`air-executor prune`."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from air_executor.cli import exit_codes
from air_executor.cli.options import Duration, base_path_option, jobs_argument, json_option, open_client
from air_executor.cli.output import note, print_json

if TYPE_CHECKING:
    from air_executor.client import AirExecutorClient, JobView


@click.command()
@base_path_option
@click.option("--older-than", "older_than_s", type=Duration(), help="Only jobs that ended longer ago, as 7d.")
@click.option("-n", "--dry-run", is_flag=True, help="Only say which would be removed.")
@json_option
@jobs_argument()
def prune(
    base_path: Path, older_than_s: float | None, dry_run: bool, as_json: bool, selectors: tuple[str, ...]
) -> None:
    """Remove jobs that are over, with their logs, also archived ones: those that JOB selects, or all --older-than.

    A job that is named and not over is an error; globs and words as `all` or `failed` pass over such jobs.
    """
    from air_executor.errors import AirExecutorError

    if older_than_s is None and not selectors:
        raise click.UsageError(
            "which jobs? Give --older-than, as in --older-than 7d, or name them (`all` means every one)"
        )
    client = open_client(base_path)
    removed: list[str] = []
    refused: dict[str, str] = {}
    for job in _chosen(client, selectors, older_than_s):
        try:
            if not dry_run:
                client.remove(job.name)
            removed.append(job.name)
        except (AirExecutorError, OSError) as error:
            refused[job.name] = str(error)
    if as_json:
        print_json({"removed": removed, "refused": refused, "dry_run": dry_run})
    else:
        for name in removed:
            click.echo(name)
        count = f"{len(removed)} job{'' if len(removed) == 1 else 's'}"
        note(f"{count} would be removed" if dry_run else f"{count} removed")
        for refusal in refused.values():
            note(refusal)
    if refused:
        raise click.exceptions.Exit(exit_codes.IMPOSSIBLE)


def _chosen(client: AirExecutorClient, selectors: tuple[str, ...], older_than_s: float | None) -> list[JobView]:
    from air_executor.cli.selection import is_selector, select
    from air_executor.errors import JobNotFinishedError
    from air_executor.store.records import utc_now

    views = client.jobs() + client.archived_jobs()
    chosen: dict[str, JobView] = {}
    for word in selectors or ("all",):
        if is_selector(word):
            found = [job for job in select(views, word) if job.state.is_terminal]
        else:
            found = [client.job(word)]
            if not found[0].state.is_terminal:
                raise JobNotFinishedError(
                    f"job {word} is {found[0].state.value}: cancel it first, or wait until it is over"
                )
        chosen.update((job.name, job) for job in found)
    if older_than_s is None:
        return list(chosen.values())
    before = utc_now() - timedelta(seconds=older_than_s)
    return [job for job in chosen.values() if job.updated_at <= before]
