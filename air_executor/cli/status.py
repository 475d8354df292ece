"""`air-executor status`: manager and jobs at a glance, or one job."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from air_executor.cli.options import JobName, base_path_option, json_option, open_client
from air_executor.cli.output import colour, note, print_json
from air_executor.cli.watching import show, watch_option

if TYPE_CHECKING:
    from air_executor.client import AirExecutorClient, JobView

_SHOWN_JOBS = 20
_SHOWN_TASKS = 10


@click.command()
@base_path_option
@json_option
@watch_option
@click.option("--all", "show_all", is_flag=True, help="Show every job, not only the 20 that changed last.")
@click.argument("job", required=False, type=JobName())
def status(base_path: Path, as_json: bool, must_watch: bool, show_all: bool, job: str | None) -> None:
    """Show the manager and the jobs, those that changed last first; or one JOB and its tasks that fail or run."""
    client = open_client(base_path)
    if job is not None:
        from air_executor.cli.selection import resolve_job

        name = resolve_job(client, job)
        if as_json:
            print_json({**_as_dict(client.job(name)), "unsuccessful": _unsuccessful(client, name)})
        else:
            show(lambda: _job_lines(client, name), must_watch=must_watch)
        return
    if as_json:
        jobs, damaged = read_jobs(client)
        pid = _manager_pid(client)
        print_json({"base_path": str(client.base_path), "manager_pid": pid, "jobs": jobs, "damaged": damaged})
        return
    show(lambda: _overview(client, show_all=show_all), must_watch=must_watch)


def read_jobs(client: AirExecutorClient) -> tuple[list[JobView], dict[str, str]]:
    """Return the jobs in jobs/, those that changed last first, and what is wrong with those that cannot be read."""
    from air_executor.errors import AirExecutorError

    jobs: list[JobView] = []
    damaged: dict[str, str] = {}
    for name in client.job_names():
        try:
            jobs.append(client.job(name))
        except (AirExecutorError, OSError) as error:
            damaged[name] = str(error)
    jobs.sort(key=lambda job: job.updated_at, reverse=True)
    return jobs, damaged


def _overview(client: AirExecutorClient, *, show_all: bool) -> list[str]:
    from air_executor.cli.job_table import job_lines

    jobs, damaged = read_jobs(client)
    lines = [f"manager: {_describe_manager(client)}   base path: {client.base_path}"]
    shown = jobs if show_all else jobs[:_SHOWN_JOBS]
    if shown:
        lines += job_lines(shown)
    if len(shown) < len(jobs):
        lines.append(f"and {len(jobs) - len(shown)} more; --all shows them")
    if not jobs:
        lines.append("no jobs")
    for error in damaged.values():
        note(error)
    return lines


def _describe_manager(client: AirExecutorClient) -> str:
    if not client.manager_is_running():
        return "not running"
    current = client.manager_status()
    if current is None:
        return f"running (pid {_manager_pid(client)})"
    draining = ", draining" if current.is_draining else ""
    return f"running (pid {current.pid}), {current.describe_slots()}{draining}"


def _manager_pid(client: AirExecutorClient) -> int | None:
    from air_executor.store.locks import read_manager_pid
    from air_executor.store.root import Root

    return read_manager_pid(Root(client.base_path)) if client.manager_is_running() else None


def _job_lines(client: AirExecutorClient, name: str) -> list[str]:
    import sys

    from air_executor.cli.job_table import describe_job
    from air_executor.cli.plain_text import show_plain, split_error

    lines = describe_job(client.job(name))
    tasks = _unsuccessful(client, name)
    for task in tasks[:_SHOWN_TASKS]:
        cause, last_lines = split_error(task.error)
        state = colour(task.status.value, sys.stdout)
        lines.append(f"{show_plain(task.id)}: {state}{f': {cause}' if cause else ''}")
        lines += [f"    {line}" for line in last_lines]
    if len(tasks) > _SHOWN_TASKS:
        lines.append(f"and {len(tasks) - _SHOWN_TASKS} more: `air-executor tasks {name}`")
    return lines


def _unsuccessful(client: AirExecutorClient, name: str) -> list[Any]:
    return [task for task in client.tasks(name) if task.status.value in ("failed", "running")]


def _as_dict(job: JobView) -> dict[str, Any]:
    import msgspec

    return msgspec.structs.asdict(job)
