"""`air-executor preload`: what was learned about the modules that Airflow tasks import."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from air_executor.cli import exit_codes
from air_executor.cli.options import base_path_option, json_option, open_client
from air_executor.cli.output import format_table, print_json, print_lines
from air_executor.cli.plain_text import show_instant, show_plain
from air_executor.core.quantities import show_size

if TYPE_CHECKING:
    from air_executor.core.preload import Learned, TemplateNote
    from air_executor.store.learned import LearnedFiles

_MOST_NAMES = 10


@click.group()
def preload() -> None:
    """Show what tasks of Airflow import, and what of it is loaded ahead of them."""


@preload.command()
@base_path_option
@json_option
def status(base_path: Path, as_json: bool) -> None:
    """Show for each Python environment what is loaded ahead of tasks, what is not, and why."""
    found = [(digest, files, learned) for digest, files, learned in _environments(base_path)]
    if as_json:
        print_json([_describe(digest, files, learned) for digest, files, learned in found])
        return
    if not found:
        click.echo("Nothing was learned yet: no warm parent of Airflow has run under this base path.")
    for digest, files, learned in found:
        print_lines(list(_show(digest, files, learned)))


@preload.command()
@base_path_option
@json_option
@click.argument("module")
def explain(base_path: Path, as_json: bool, module: str) -> None:
    """Say whether MODULE is loaded ahead of tasks, and if not, why.

    Exit code 4 if no environment knows it.
    """
    from air_executor.core.preload_explanation import Standing, explain_module
    from air_executor.store.records import utc_now

    found = [
        (digest, learned.python, explain_module(learned, module, utc_now()))
        for digest, _, learned in _environments(base_path)
    ]
    if as_json:
        print_json(
            [
                {
                    "environment": digest,
                    "python": python,
                    "module": module,
                    "standing": each.standing.value,
                    "text": each.text,
                    "remedy": each.remedy,
                }
                for digest, python, each in found
            ]
        )
    elif not found:
        click.echo("Nothing was learned yet: no warm parent of Airflow has run under this base path.")
    else:
        for digest, python, each in found:
            click.echo(f"{show_plain(module)} in {digest[:8]} ({show_plain(python)}): {show_plain(each.text)}")
            if each.remedy:
                click.echo(f"    {show_plain(each.remedy)}")
    if all(each.standing is Standing.UNKNOWN for _, _, each in found):
        raise click.exceptions.Exit(exit_codes.NOT_FOUND)


@preload.command()
@base_path_option
@click.argument("environment", required=False)
def clear(base_path: Path, environment: str | None) -> None:
    """Forget what was learned, and why modules were denied; of ENVIRONMENT only, if one is given.

    The next task gets a new warm parent, and learning starts anew.
    """
    from air_executor.errors import JobNotFoundError

    chosen = [(digest, files) for digest, files, _ in _environments(base_path) if digest.startswith(environment or "")]
    if environment and not chosen:
        raise JobNotFoundError(
            f"nothing was learned for an environment {environment!r}: see `air-executor preload status`"
        )
    for digest, files in chosen:
        files.forget()
        click.echo(f"forgot what was learned for {digest[:8]}")


def _environments(base_path: Path) -> Iterator[tuple[str, LearnedFiles, Learned]]:
    from air_executor.store.learned import list_learned
    from air_executor.store.root import Root

    open_client(base_path)  # says what is wrong with the base path
    for digest, files in list_learned(Root(base_path)):
        learned = files.read()
        if learned is not None:
            yield digest, files, learned


def _describe(digest: str, files: LearnedFiles, learned: Learned) -> dict[str, Any]:
    waiting, seen = _split_seen(learned)
    trial = learned.trial
    return {
        "environment": digest,
        "python": learned.python,
        "is_settled": not waiting and not files.has_reports(),
        "loaded": [
            {
                "module": name,
                "since": each.since,
                "cpu_s": each.seconds,
                "memory_bytes": each.memory_bytes,
                "brings": list(each.brings),
            }
            for name, each in learned.loaded.items()
        ],
        "denied": [
            {"module": name, "cause": each.cause, "reason": each.reason, "at": each.at}
            for name, each in learned.denied.items()
        ],
        "shadowed": sorted(learned.shadowed),
        "waiting": waiting,
        "seen": {name: learned.seen[name].attempts for name in seen},
        "trial": None if trial is None else {"ended_at": trial.ended_at, "error": trial.error},
        "dag_templates": [
            {
                "bundle": note.bundle,
                "version": note.version,
                "path": note.path,
                "reason": note.reason,
                "parse_s": note.seconds,
                "memory_bytes": note.memory_bytes,
                "at": note.at,
            }
            for note in files.read_templates()
        ],
    }


def _split_seen(learned: Learned) -> tuple[list[str], list[str]]:
    from air_executor.core.preload import list_candidates
    from air_executor.store.records import utc_now

    waiting = [name for name in list_candidates(learned, utc_now()) if name not in learned.loaded]
    others = learned.seen.keys() - waiting - learned.denied.keys()
    return waiting, [name for name in learned.seen if name in others]


def _show(digest: str, files: LearnedFiles, learned: Learned) -> Iterator[str]:
    waiting, seen = _split_seen(learned)
    yield f"environment {digest[:8]} ({show_plain(learned.python)})"
    if learned.loaded:
        rows = [
            (show_plain(name), f"{each.seconds:.2f} s", show_size(each.memory_bytes), str(len(each.brings)))
            for name, each in sorted(learned.loaded.items(), key=lambda item: -item[1].seconds)
        ]
        yield f"  loaded ahead of tasks ({sum(each.seconds for each in learned.loaded.values()):.2f} s of CPU time that a task which imports all of it is spared):"
        yield from _indent(format_table(("MODULE", "CPU", "MEMORY", "WITH"), rows, sys.stdout))
    if learned.denied:
        reasons = [(show_plain(name), each.cause, show_plain(each.reason)) for name, each in learned.denied.items()]
        yield "  not loaded, each task imports it itself:"
        yield from _indent(format_table(("MODULE", "CAUSE", "REASON"), reasons, sys.stdout))
    if waiting:
        yield f"  waiting for a trial: {_enumerate(waiting)}"
    if seen:
        yield f"  seen too seldom: {_enumerate(seen)}"
    if files.has_reports():
        yield "  there are reports of tasks that the manager has not read yet"
    if learned.trial is not None:
        outcome = "passed" if learned.trial.error is None else f"failed ({show_plain(learned.trial.error)})"
        yield f"  last trial: {outcome}, {show_instant(learned.trial.ended_at)}"
    if not (learned.loaded or learned.denied or learned.seen):
        yield "  nothing was learned yet"
    yield from _show_templates(files.read_templates())


def _show_templates(notes: list[TemplateNote]) -> Iterator[str]:
    serving = [
        (_name(note), f"{note.seconds:.2f} s", show_size(note.memory_bytes)) for note in notes if not note.reason
    ]
    ruled_out = [(_name(note), show_plain(note.reason)) for note in notes if note.reason]
    if serving:
        yield "  DAG files that are parsed for many tasks at once:"
        yield from _indent(format_table(("FILE", "PARSE", "MEMORY"), serving, sys.stdout))
    if ruled_out:
        yield "  DAG files that each task parses itself:"
        yield from _indent(format_table(("FILE", "REASON"), ruled_out, sys.stdout))


def _name(note: TemplateNote) -> str:
    bundle = note.bundle if note.version is None else f"{note.bundle}@{note.version}"
    return show_plain(f"{bundle}/{note.path}")


def _indent(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def _enumerate(names: list[str]) -> str:
    shown = ", ".join(map(show_plain, names[:_MOST_NAMES]))
    return shown if len(names) <= _MOST_NAMES else f"{shown} and {len(names) - _MOST_NAMES} more"
