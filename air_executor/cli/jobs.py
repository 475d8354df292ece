"""`air-executor jobs`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from air_executor.cli.options import base_path_option, jobs_argument, json_option, open_client
from air_executor.cli.output import print_json
from air_executor.cli.watching import show, watch_option

if TYPE_CHECKING:
    from air_executor.client import AirExecutorClient, JobView


@click.command()
@base_path_option
@json_option
@watch_option
@click.option("-q", "--quiet", is_flag=True, help="Print names only.")
@click.option("--archived", is_flag=True, help="Also those that were moved out of jobs/.")
@click.option("-n", "--limit", type=click.IntRange(1), metavar="N", help="The N that changed last.")
@jobs_argument()
def jobs(
    base_path: Path,
    as_json: bool,
    must_watch: bool,
    quiet: bool,
    archived: bool,
    limit: int | None,
    selectors: tuple[str, ...],
) -> None:
    """List jobs, those that changed last first: all, or those that JOB selects.

    JOB is a name, a glob as 'nightly-*', or one of last, all, unfinished, waiting, working, completed, failed, cancelled.
    """
    from air_executor.cli.job_table import job_lines

    client = open_client(base_path)

    def read() -> list[JobView]:
        return _select(client, selectors, archived=archived)[:limit]

    if as_json:
        print_json(read())
    elif quiet:
        show(lambda: [job.name for job in read()], must_watch=must_watch)
    else:
        show(lambda: job_lines(read()) if client.job_names() else ["no jobs"], must_watch=must_watch)


def _select(client: AirExecutorClient, selectors: tuple[str, ...], *, archived: bool) -> list[JobView]:
    from air_executor.cli.selection import is_selector, select

    views = client.jobs()
    if archived:
        views = sorted(views + client.archived_jobs(), key=lambda job: job.updated_at, reverse=True)
    if not selectors:
        return views
    chosen = {job.name: job for word in selectors for job in select(views, word)}
    for word in selectors:
        if not is_selector(word) and word not in chosen:
            # Not among the jobs that can be read: say what is wrong with it.
            chosen[word] = client.job(word)
    return sorted(chosen.values(), key=lambda job: job.updated_at, reverse=True)
