"""`air-executor history`: what has happened, also to jobs that are gone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from air_executor.cli.options import Duration, JobName, base_path_option, json_option
from air_executor.cli.output import note, print_json, print_lines

if TYPE_CHECKING:
    from air_executor.history.queries import History

F = TypeVar("F", bound=Callable[..., Any])

_STATES = ("waiting", "working", "completed", "failed", "cancelled", "removed")
_SHOWN_ATTEMPTS = 50


def _selection_options(command: F) -> F:
    options = (
        click.option("--name", metavar="GLOB", help="Only jobs of this name, or that a glob as 'nightly-*' means."),
        click.option("--since", "since_s", type=Duration(), help="Only the last, as 7d."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _limit_option(default: int, what: str) -> Callable[[F], F]:
    return click.option(
        "-n", "--limit", type=click.IntRange(1), default=default, show_default=True, metavar="N", help=what
    )


@click.group(invoke_without_command=True)
@base_path_option
@json_option
@_selection_options
@click.option(
    "--state", "states", type=click.Choice(_STATES), multiple=True, help="Only this state; also several times."
)
@click.option("--label", "labels", metavar="NAME=VALUE", multiple=True, help="Only with this label, as dag_id=nightly.")
@_limit_option(20, "The N created last.")
@click.pass_context
def history(
    ctx: click.Context,
    base_path: Path,
    as_json: bool,
    name: str | None,
    since_s: float | None,
    states: tuple[str, ...],
    labels: tuple[str, ...],
    limit: int,
) -> None:
    """List runs of jobs from the history, those created last first; also of jobs that are archived or gone.

    It is recorded while the manager runs with `"history": true` in settings.json, or with --history.
    """
    if ctx.invoked_subcommand is not None:
        given = [each for each in ctx.params if ctx.get_parameter_source(each) is ParameterSource.COMMANDLINE]
        if set(given) - {"base_path"}:
            raise click.UsageError(f"options of `{ctx.invoked_subcommand}` stand behind it")
        return
    from air_executor.cli.history_table import run_lines

    wanted = dict(_label(text) for text in labels)
    with _opened(base_path) as records:
        runs = records.runs(name=name, states=states, since=_instant(since_s), labels=wanted, limit=limit)
    if as_json:
        print_json(runs)
    else:
        print_lines(run_lines(runs) if runs else ["nothing is recorded that matches"])


@history.command()
@base_path_option
@json_option
@_limit_option(5, "The N runs created last.")
@click.argument("name", metavar="JOB", type=JobName())
def job(base_path: Path, as_json: bool, limit: int, name: str) -> None:
    """Show all runs of JOB, with their attempts. With --json also tasks, labels and progress."""
    from air_executor.cli.history_table import attempt_lines, describe_run
    from air_executor.errors import JobNotFoundError

    with _opened(base_path) as records:
        runs = records.runs(name=_literal(name), limit=limit)
        if not runs:
            raise JobNotFoundError(f"the history has no job {name}: `air-executor history` lists what it has")
        if as_json:
            print_json([_whole(records, run) for run in runs])
            return
        lines: list[str] = []
        for run in runs:
            attempts = records.attempts(run["run_id"])
            lines += [*describe_run(run, records.labels(run["run_id"])), *attempt_lines(attempts[:_SHOWN_ATTEMPTS])]
            if len(attempts) > _SHOWN_ATTEMPTS:
                lines.append(f"and {len(attempts) - _SHOWN_ATTEMPTS} more; --json shows them")
            lines.append("")
    print_lines(lines[:-1])


@history.command()
@base_path_option
@json_option
@_selection_options
@_limit_option(20, "The N slowest.")
def slow(base_path: Path, as_json: bool, name: str | None, since_s: float | None, limit: int) -> None:
    """List the attempts that took longest."""
    from air_executor.cli.history_table import slow_lines

    with _opened(base_path) as records:
        found = records.slowest(name=name, since=_instant(since_s), limit=limit)
    if as_json:
        print_json(found)
    else:
        print_lines(slow_lines(found) if found else ["nothing is recorded that matches"])


@history.command()
@base_path_option
@json_option
@_selection_options
@_limit_option(20, "The N most frequent.")
def failures(base_path: Path, as_json: bool, name: str | None, since_s: float | None, limit: int) -> None:
    """List the commands that failed, how often, how, and where they did last."""
    from air_executor.cli.history_table import failure_lines

    with _opened(base_path) as records:
        found = records.failures(name=name, since=_instant(since_s), limit=limit)
    if as_json:
        print_json(found)
    else:
        print_lines(failure_lines(found) if found else ["no failure is recorded that matches"])


@history.command()
@base_path_option
@json_option
@click.argument("query")
def sql(base_path: Path, as_json: bool, query: str) -> None:
    """Print what a QUERY in SQL finds, as 'SELECT state, count(*) FROM air_executor_jobs GROUP BY state'.

    The tables are described in docs/history.md. A statement that changes something is refused.
    """
    from air_executor.cli.history_table import plain_lines

    with _opened(base_path) as records:
        columns, rows = records.select(query)
    if as_json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
    elif columns:
        print_lines(plain_lines(columns, rows))


@history.command()
@base_path_option
@json_option
@click.option(
    "--older-than", "older_than_s", type=Duration(), required=True, help="Runs that ended longer ago, as 90d."
)
@click.option("--dry-run", is_flag=True, help="Only say how many would be removed.")
def prune(base_path: Path, as_json: bool, older_than_s: float, dry_run: bool) -> None:
    """Remove runs from the history that ended long ago. Job directories are not touched."""
    before = _instant(older_than_s)
    assert before is not None
    with _opened(base_path, read_only=False) as records:
        count = records.prune(before, dry_run=dry_run)
    if as_json:
        print_json({"removed": count, "dry_run": dry_run})
    else:
        note(f"{count} {'would be removed' if dry_run else 'removed'}")


@contextmanager
def _opened(base_path: Path, *, read_only: bool = True) -> Iterator[History]:
    from air_executor.history.location import need_packages

    need_packages()
    from air_executor.history.queries import History
    from air_executor.store.history_status import read_history_status
    from air_executor.store.root import Root

    root = Root.open(base_path, create=False)
    status = read_history_status(root)
    if status is not None and status.error is not None:
        note(f"what is newest may be missing: {status.error}")
    records = History(root, read_only=read_only)
    try:
        yield records
    finally:
        records.close()


def _whole(records: History, run: dict[str, Any]) -> dict[str, Any]:
    run_id = run["run_id"]
    return {
        **run,
        "labels": records.labels(run_id),
        "tasks": records.tasks(run_id),
        "attempts": records.attempts(run_id),
        "progress": records.progress(run_id),
    }


def _instant(ago_s: float | None) -> datetime | None:
    from air_executor.store.records import utc_now

    return None if ago_s is None else utc_now() - timedelta(seconds=ago_s)


def _label(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not name or not separator:
        raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--label")
    return name, value


def _literal(name: str) -> str:
    """Return a glob that means this name alone; names hold no special characters but these never."""
    return name.replace("[", "[[]").replace("*", "[*]").replace("?", "[?]")
