"""Takes down interpreter, variables and working directory of the scheduler: tasks run with the same."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from air_executor.config import ATTEMPT_VARIABLES, BASE_PATH_VARIABLE

TEAM_VARIABLE = "AIR_EXECUTOR_TEAM"
"""Tells runners which team's configuration names the API server."""

_LEFT_OUT = frozenset(
    {
        # Belong to one process: a supervisor's sockets and watchdog, a shell's bookkeeping.
        "NOTIFY_SOCKET",
        "WATCHDOG_PID",
        "WATCHDOG_USEC",
        "LISTEN_FDS",
        "LISTEN_FDNAMES",
        "LISTEN_PID",
        "INVOCATION_ID",
        "JOURNAL_STREAM",
        "MAINPID",
        "MANAGERPID",
        "SYSTEMD_EXEC_PID",
        "OLDPWD",
        "PWD",
        "SHLVL",
        "_",
        # Says "server" in the scheduler: a task's secrets would be looked up in the database.
        "_AIRFLOW_PROCESS_CONTEXT",
        "AIR_EXECUTOR_ATTEMPT_MARK",
    }
)

_OF_ONE_TASK = ATTEMPT_VARIABLES | {BASE_PATH_VARIABLE}
"""Set anew in every task: they would give each submission an environment of its own."""


@dataclass(frozen=True)
class EnvironmentSnapshot:
    """What the processes of tasks start with."""

    python: str
    variables: dict[str, str]
    cwd: str


def take_snapshot(environ: Mapping[str, str] | None = None, *, team_name: str | None = None) -> EnvironmentSnapshot:
    """Return the snapshot of this process."""
    variables = {
        name: text for name, text in (os.environ if environ is None else environ).items() if name not in _LEFT_OUT
    }
    if team_name:
        variables[TEAM_VARIABLE] = team_name
    return EnvironmentSnapshot(sys.executable, variables, os.getcwd())


def take_command_snapshot(environ: Mapping[str, str] | None = None) -> EnvironmentSnapshot:
    """Return what the commands of a job start with that a task of Airflow hands over: what that task itself started with."""
    snapshot = take_snapshot(environ)
    variables = {
        name: text
        for name, text in snapshot.variables.items()
        if name not in _OF_ONE_TASK and not name.startswith(("AIRFLOW_CTX_", "_AIRFLOW_", "__AIRFLOW_"))
    }
    return EnvironmentSnapshot(snapshot.python, variables, snapshot.cwd)
