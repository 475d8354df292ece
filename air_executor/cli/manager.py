"""`air-executor manager`: run, start, stop, reload the manager, and ask how it is."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from air_executor.cli import exit_codes
from air_executor.cli.options import Duration, base_path_option, json_option
from air_executor.cli.output import note, print_json
from air_executor.errors import ManagerNotRunningError
from air_executor.manager_process import signal_manager, start_manager, wait_until_stopped
from air_executor.store.locks import manager_is_running
from air_executor.store.root import Root

F = TypeVar("F", bound=Callable[..., Any])

_SETTINGS: tuple[click.Option | Callable[[Any], Any], ...] = (
    click.option(
        "--slots",
        type=click.IntRange(1),
        help="Attempts that run at once, over all jobs; an executor's have as many of their own.  [default: 32]",
    ),
    click.option(
        "--kill-grace",
        "kill_grace_s",
        type=click.FloatRange(0),
        help="Seconds between SIGTERM and SIGKILL.  [default: 5]",
    ),
    click.option(
        "--fork-server-idle",
        "fork_server_idle_s",
        type=click.FloatRange(0),
        help="Seconds without work after which a fork server for commands leaves.  [default: 5]",
    ),
    click.option(
        "--warm-parent-idle",
        "warm_parent_idle_s",
        type=click.FloatRange(0),
        help="Seconds without work after which a warm parent leaves.  [default: 600]",
    ),
    click.option(
        "--rescan",
        "rescan_s",
        type=click.FloatRange(0.01),
        help="Seconds between two listings of the jobs.  [default: 5]",
    ),
    click.option(
        "--view-interval",
        "view_interval_s",
        type=click.FloatRange(0),
        help="Seconds between two versions of a job's state.json and tasks.json.  [default: 0.25]",
    ),
    click.option(
        "--keep-finished-jobs",
        type=click.IntRange(0),
        help="Finished jobs that stay in jobs/; older ones move to archive/.  [default: 1000]",
    ),
    click.option(
        "--archive-after",
        "archive_after_s",
        type=click.FloatRange(0),
        help="Seconds after which a finished job moves to archive/ at the latest.  [default: 604800]",
    ),
    click.option(
        "--keep-announced-jobs",
        type=click.IntRange(0),
        help="Finished jobs of an executor that stay; older ones are removed.  [default: 10000]",
    ),
    click.option(
        "--keep-announced",
        "keep_announced_s",
        type=click.FloatRange(0),
        help="Seconds that a finished job of an executor stays at the most.  [default: 86400]",
    ),
    click.option(
        "--use-cgroups/--no-use-cgroups", default=None, help="A cgroup v2 for each attempt.  [default: where possible]"
    ),
    click.option(
        "--metrics-port",
        type=click.IntRange(1, 65535),
        help="Port of an endpoint with metrics for Prometheus.  [default: none]",
    ),
    click.option(
        "--history/--no-history",
        default=None,
        help="Record jobs in a database, see `air-executor history`.  [default: no]",
    ),
    click.option(
        "--metrics-host", metavar="ADDRESS", help="Address that this endpoint listens on.  [default: 127.0.0.1]"
    ),
)


def _settings_options(command: F) -> F:
    for option in reversed(_SETTINGS):
        command = option(command)
    return command


@click.group()
def manager() -> None:
    """Control the process that turns jobs into running tasks: one per base path."""


@manager.command()
@base_path_option
@_settings_options
@click.option("--verbose", is_flag=True, help="Log every start of a task.")
@click.option("--background", is_flag=True, hidden=True, help="Log to the file only.")
def run(base_path: Path, verbose: bool, background: bool, **settings: Any) -> None:
    """Run the manager in the foreground, until SIGTERM or Ctrl-C; running tasks run on for the next one."""
    from air_executor.manager.daemon import Manager
    from air_executor.manager.logs import set_up_logging

    root = Root.open(base_path)
    daemon = Manager(root, _given(settings))
    set_up_logging(root, verbose=verbose, in_background=background)
    daemon.run()


@manager.command()
@base_path_option
@_settings_options
@json_option
def start(base_path: Path, as_json: bool, **settings: Any) -> None:
    """Start the manager in the background; nothing happens if it runs."""
    root = Root.open(base_path)
    already = manager_is_running(root)
    pid = start_manager(root, _given(settings))
    if as_json:
        print_json({"pid": pid, "base_path": str(root.path), "log": str(root.manager_log), "was_running": already})
        return
    click.echo(
        f"manager {'runs already' if already else 'started'} (pid {pid}), base path {root.path}, log {root.manager_log}"
    )


@manager.command()
@base_path_option
@click.option("--drain", is_flag=True, help="Start nothing more, let what runs finish, then stop.")
@click.option("--timeout", "timeout_s", type=Duration(), help="Give up waiting after this long, with exit code 124.")
@json_option
def stop(base_path: Path, drain: bool, timeout_s: float | None, as_json: bool) -> None:
    """Stop the manager. Running tasks run on and are adopted by the next one; --drain lets them finish first."""
    root = Root.open(base_path, create=False)
    pid = signal_manager(root, signal.SIGUSR1 if drain else signal.SIGTERM)
    has_stopped = wait_until_stopped(root, timeout_s)
    if as_json:
        print_json({"pid": pid, "has_stopped": has_stopped})
    elif has_stopped:
        click.echo(f"manager (pid {pid}) has stopped")
    if not has_stopped:
        note(f"the manager (pid {pid}) has not stopped in {timeout_s:g} s; it goes on stopping")
        raise click.exceptions.Exit(exit_codes.TIMED_OUT)


@manager.command()
@base_path_option
@json_option
def reload(base_path: Path, as_json: bool) -> None:
    """Make the manager read settings.json of its base path again."""
    root = Root.open(base_path, create=False)
    pid = signal_manager(root, signal.SIGHUP)
    if as_json:
        print_json({"pid": pid})
    else:
        click.echo(f"manager (pid {pid}) reads its settings again; {root.manager_log} says what it found")


@manager.command()
@base_path_option
@json_option
def status(base_path: Path, as_json: bool) -> None:
    """Say whether the manager runs, and what; exit code 1 if it does not."""
    from air_executor.store.status import read_status

    root = Root.open(base_path, create=False)
    if not manager_is_running(root):
        raise ManagerNotRunningError(f"no manager runs on {root.path}: `air-executor manager start` starts one")
    current = read_status(root)
    if as_json:
        print_json(current)
    elif current is None:
        click.echo(f"manager runs on {root.path}")
    else:
        click.echo(f"manager (pid {current.pid}) runs on {root.path} since {current.started_at:%Y-%m-%d %H:%M:%S} UTC")
        click.echo(f"  {current.describe_slots()}, {current.jobs} jobs{', draining' if current.is_draining else ''}")
        for server in current.servers:
            kind = "warm parent" if server.kind == "airflow" else "fork server"
            click.echo(f"  {kind} (pid {server.pid}){'' if server.is_ready else ', loading'}: {server.running} runners")
        if current.metrics_url:
            click.echo(f"  metrics: {current.metrics_url}")


def _given(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}
