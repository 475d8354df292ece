"""`air-executor status`: manager and jobs at a glance."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from air_executor.cli.options import base_path_option, json_option
from air_executor.client import AirExecutorClient, JobView
from air_executor.errors import AirExecutorError
from air_executor.store.locks import read_manager_pid
from air_executor.store.root import Root

_COLUMNS = ("JOB", "STATE", "TASKS", "DONE", "RUNNING", "FAILED", "UPDATED")


@click.command()
@base_path_option
@json_option
@click.option("--all", "show_all", is_flag=True, help="Show every job, not only the 20 that changed last.")
def status(base_path: Path, as_json: bool, show_all: bool) -> None:
    """Show the manager and the jobs, those that changed last first."""
    root = Root.open(base_path, create=False)
    client = AirExecutorClient(base_path)
    pid = read_manager_pid(root) if client.manager_is_running() else None
    jobs, damaged = _read_jobs(client)
    jobs.sort(key=lambda job: job.updated_at, reverse=True)
    if as_json:
        document = {"base_path": str(root.path), "manager_pid": pid, "jobs": jobs, "damaged": damaged}
        click.echo(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())
        return
    click.echo(f"manager: {f'running (pid {pid})' if pid else 'not running'}   base path: {root.path}")
    shown = jobs if show_all else jobs[:20]
    if shown:
        _print_table([_COLUMNS, *map(_row, shown)])
    if len(shown) < len(jobs):
        click.echo(f"and {len(jobs) - len(shown)} more; --all shows them")
    if not jobs:
        click.echo("no jobs")
    for name, error in damaged.items():
        click.echo(f"{name}: {error}", err=True)


def _read_jobs(client: AirExecutorClient) -> tuple[list[JobView], dict[str, str]]:
    jobs: list[JobView] = []
    damaged: dict[str, str] = {}
    for name in client.job_names():
        try:
            jobs.append(client.job(name))
        except (AirExecutorError, OSError) as error:
            damaged[name] = str(error)
    return jobs, damaged


def _row(job: JobView) -> tuple[str, ...]:
    def count(status: str) -> str:
        return str(job.tasks.get(status, 0))

    return (
        job.name,
        job.state.value,
        count("total"),
        count("completed"),
        count("running"),
        count("failed"),
        f"{job.updated_at:%Y-%m-%d %H:%M:%S}",
    )


def _print_table(rows: list[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
