"""Starting and stopping the manager of a root from another process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from air_executor.config import ATTEMPT_VARIABLES, HISTORY_AIRFLOW_VARIABLE
from air_executor.errors import ManagerNotRunningError, RootError
from air_executor.store.locks import manager_is_running, read_manager_pid
from air_executor.store.root import Root

_PAUSE_S = 0.02
_START_TIMEOUT_S = 30.0
_URL = "history_url"
_starting: dict[Path, subprocess.Popen[bytes]] = {}
"""By root: what this process started and what does not hold the root yet."""
_spawned: set[int] = set()


def start_manager(root: Root, options: Mapping[str, float | bool | str] | None = None) -> int:
    """Start a manager that outlives this process, and return its pid once it holds the root; a running one is left as it is.

    :param options: settings by field name of `ManagerSettings`, given to it on its command line; but `history_url` in its environment.
    :raises RootError: it did not start; the message holds its own words.
    """
    pid = ensure_manager(root, options, _START_TIMEOUT_S)
    if pid is None:
        raise RootError(f"the manager of {root.path} did not start in {_START_TIMEOUT_S:g} s; see {root.manager_log}")
    return pid


def ensure_manager(
    root: Root, options: Mapping[str, float | bool | str] | None = None, wait_s: float = 0.0
) -> int | None:
    """Do as `start_manager`, but wait for `wait_s` seconds only; None says that the manager is still starting.

    This process remembers the one that it started: a later call looks after that one and starts no second beside it.

    :raises RootError: it ended before it held the root; the message holds its own words. The next call starts another.
    """
    _reap_spawned()
    deadline = time.monotonic() + wait_s
    while True:
        process = _starting.get(root.path)
        pid = read_manager_pid(root)
        if manager_is_running(root) and pid is not None:
            _let_go(_starting.pop(root.path, None))
            return pid
        if process is None:
            _starting[root.path] = _spawn(root, options or {})
        elif process.poll() is not None and not manager_is_running(root):
            del _starting[root.path]
            raise RootError(f"the manager of {root.path} did not start: {_last_words(root)}")
        if time.monotonic() >= deadline:
            return None
        time.sleep(_PAUSE_S)


def signal_manager(root: Root, number: signal.Signals) -> int:
    """Send a signal to the manager of this root and return its pid.

    :raises ManagerNotRunningError: none runs.
    """
    pid = read_manager_pid(root)
    # The lock says that a manager lives; the pid in the file is then its own.
    if not manager_is_running(root) or pid is None:
        raise ManagerNotRunningError(f"no manager runs on {root.path}: `air-executor manager start` starts one")
    os.kill(pid, number)
    return pid


def wait_until_stopped(root: Root, timeout_s: float | None) -> bool:
    """Return True once no manager holds the root, False after `timeout_s` seconds."""
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    while manager_is_running(root):
        if deadline is not None and time.monotonic() > deadline:
            return False
        time.sleep(_PAUSE_S)
    return True


def list_arguments(settings: Mapping[str, float | bool | str]) -> list[str]:
    """Return the options of `air-executor manager run` that say the same as settings by field name of `ManagerSettings`."""
    flags = {name.removesuffix("_s").replace("_", "-"): value for name, value in settings.items() if name != _URL}
    return [
        f"--{'' if value else 'no-'}{flag}" if isinstance(value, bool) else f"--{flag}={value}"
        for flag, value in flags.items()
    ]


def list_variables(settings: Mapping[str, float | bool | str]) -> dict[str, str]:
    """Return what is not for a command line, which everybody can read: the address of the history may hold a password."""
    # As what Airflow says it is: settings.json comes first, for whoever writes and whoever reads.
    return {HISTORY_AIRFLOW_VARIABLE: str(settings[_URL])} if _URL in settings else {}


def _spawn(root: Root, options: Mapping[str, float | bool | str]) -> subprocess.Popen[bytes]:
    arguments = [
        sys.executable,
        "-m",
        "air_executor.cli.main",
        "manager",
        "run",
        "--base-path",
        str(root.path),
        "--background",
    ]
    # Started inside a task, it is no part of that attempt, nor are the tasks that it will run.
    environment = {name: value for name, value in os.environ.items() if name not in ATTEMPT_VARIABLES}
    environment |= list_variables(options)
    arguments += list_arguments(options)
    startup = root.run / "manager.start.log"
    with open(os.open(startup, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as output:
        # A session of its own: Ctrl-C in this terminal, or the end of this process, is not for the manager.
        return subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            start_new_session=True,
            close_fds=True,
        )


def _let_go(process: subprocess.Popen[bytes] | None) -> None:
    if process is not None and process.poll() is None:
        _spawned.add(process.pid)
        # It is meant to outlive its Popen, which would else complain.
        process.returncode = 0


def _reap_spawned() -> None:
    """Collect managers that this process started and that have ended since, so that none stays as a zombie."""
    for pid in list(_spawned):
        try:
            if os.waitpid(pid, os.WNOHANG)[0] == 0:
                continue
        except ChildProcessError:
            pass
        _spawned.discard(pid)


def _last_words(root: Root) -> str:
    try:
        words = (root.run / "manager.start.log").read_text("utf-8", "replace").strip()
    except OSError:
        words = ""
    return words[-1500:] or f"see {root.manager_log}"
