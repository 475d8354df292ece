"""`airflow air-executor ...`: commands of `air-executor`, on the base path and with the settings of airflow.cfg.

Read on every `airflow` command: imports nothing of Airflow but the types of its command line.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from airflow.cli.cli_config import ActionCommand, Arg, GroupCommand

if TYPE_CHECKING:
    from argparse import Namespace

_ARGUMENTS = Arg(  # type: ignore[no-untyped-call] # Airflow's
    ("arguments",),
    nargs="*",
    metavar="ARGUMENT",
    help="passed on to `air-executor`; put `--` before the first one that begins with a dash",
)
_MANAGER_ACTIONS = (
    ("run", "run the manager in the foreground, as under systemd"),
    ("start", "start the manager in the background"),
    ("stop", "stop the manager; running tasks run on, and the next manager adopts them"),
    ("status", "tell whether a manager runs"),
)
_STARTING = {("manager", "run"), ("manager", "start")}
_ENTRY_POINT = "import sys; from air_executor.cli.main import main; sys.exit(main())"


def get_commands() -> list[GroupCommand]:
    """Return what Airflow adds to its command line; provider info names this function."""
    manager = GroupCommand(
        name="manager",
        help="run, start, stop the manager",
        subcommands=[_make_action(("manager", name), text) for name, text in _MANAGER_ACTIONS],
    )
    status = _make_action(("status",), "show manager, slots and jobs")
    return [GroupCommand(name="air-executor", help="Manage Air-Executor", subcommands=[status, manager])]


def _make_action(words: tuple[str, ...], text: str) -> ActionCommand:
    return ActionCommand(name=words[-1], help=text, func=_make_command(words), args=(_ARGUMENTS,))


def _make_command(words: tuple[str, ...]) -> Callable[[Namespace], NoReturn]:
    def command(arguments: Namespace) -> NoReturn:
        _become(words, list(arguments.arguments))

    return command


def _become(words: tuple[str, ...], arguments: list[str]) -> NoReturn:
    """Replace this process by `air-executor`: a manager needs none of the memory that Airflow has taken here."""
    from airflow.configuration import conf

    from air_executor.airflow import compat
    from air_executor.airflow.options import read_options
    from air_executor.config import BASE_PATH_VARIABLE
    from air_executor.manager_process import list_arguments, list_variables

    options = read_options(lambda section, name: compat.read_setting(None, section, name), os.environ)
    settings = options.list_manager_settings(conf.getint("core", "parallelism")) if words in _STARTING else {}
    # Later ones, given by hand, win.
    command = [*words, *list_arguments(settings), *arguments]
    environment = {**os.environ, BASE_PATH_VARIABLE: str(options.base_path), **list_variables(settings)}
    os.execve(sys.executable, [sys.executable, "-c", _ENTRY_POINT, *command], environment)
