"""`airflow air-executor ...`: the commands of `air-executor`, on the base path that airflow.cfg names.

Read on every `airflow` command: imports nothing of Airflow but the types of its command line.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.cli.cli_config import ActionCommand, Arg, GroupCommand, lazy_load_command

if TYPE_CHECKING:
    from argparse import Namespace

_ARGUMENTS = Arg(
    ("arguments",),
    nargs="*",
    metavar="ARGUMENT",
    help="Passed on to `air-executor`. Put `--` before the first one that begins with a dash.",
)
_ACTIONS = (
    ("status", "status", "Show the manager, the jobs and the slots"),
    ("jobs", "jobs", "List the jobs"),
)
_MANAGER_ACTIONS = (
    ("run", "Run the manager in the foreground, as under systemd"),
    ("start", "Start the manager in the background"),
    ("stop", "Stop the manager; running tasks run on and are adopted by the next one"),
    ("status", "Tell whether a manager runs"),
)


def get_commands() -> list[GroupCommand]:
    """Return what Airflow adds to its command line; provider info names this function."""
    manager = GroupCommand(
        name="manager",
        help="Run, start, stop the manager",
        subcommands=[_make_action("manager", name, text) for name, text in _MANAGER_ACTIONS],
    )
    top = [_make_action("", name, text) for name, _, text in _ACTIONS]
    return [GroupCommand(name="air-executor", help="Air-Executor: its manager and jobs", subcommands=[*top, manager])]


def _make_action(group: str, name: str, text: str) -> ActionCommand:
    function = f"run_{group}_{name}" if group else f"run_{name}"
    return ActionCommand(name=name, help=text, func=lazy_load_command(f"{__name__}.{function}"), args=(_ARGUMENTS,))
