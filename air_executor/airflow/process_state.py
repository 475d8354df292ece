"""What an import must leave as it found it in a process that forks: threads, descriptors, children, and what belongs to the whole process."""

from __future__ import annotations

import builtins
import locale
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from air_executor.process.procfs import read_stat

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
HARMLESS_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
"""They keep nothing that is written to them, so that anybody may share them."""
_NO_HANDLER = "default"
_SETTLING_S = 0.1
_SETTLING_STEP_S = 0.005

_PATCHABLE: tuple[tuple[str, Any, str], ...] = (
    ("builtins.__import__", builtins, "__import__"),
    ("builtins.open", builtins, "open"),
    ("os.fork", os, "fork"),
    ("socket.socket", socket, "socket"),
    ("subprocess.Popen", subprocess, "Popen"),
    ("threading.Thread", threading, "Thread"),
    ("threading.Lock", threading, "Lock"),
    ("time.sleep", time, "sleep"),
    ("sys.excepthook", sys, "excepthook"),
    ("sys.stdout", sys, "stdout"),
    ("sys.stderr", sys, "stderr"),
)
"""What is known to be replaced by libraries when they are imported: then every task would get the replacement."""


@dataclass(frozen=True)
class Objection:
    """Why a module must not be loaded in a process that forks."""

    cause: str
    reason: str


@dataclass(frozen=True)
class ProcessState:
    """What there is at one moment."""

    descriptors: dict[int, str]
    shared: dict[str, Any]
    variables: dict[str, str]

    @classmethod
    def take(cls) -> ProcessState:
        """Look at this process."""
        return cls(list_descriptors(), _list_shared(), dict(os.environ))

    def find_objection(self, besides: Collection[str] = ()) -> Objection | None:
        """Compare with this process as it is now. Threads are another question: some end at a fork, see `count_threads`.

        :param besides: names of shared things that may have changed.
        """
        for number, target in list_descriptors().items():
            if self.descriptors.get(number) != target and not _is_harmless(number, target):
                return Objection("descriptor", f"it leaves {_name_descriptor(target)} open")
        if has_children():
            return Objection("process", "it leaves a process running")
        now = _list_shared()
        changed = [
            name
            for name, value in self.shared.items()
            if now[name] is not value and now[name] != value and name not in besides
        ]
        if changed:
            return Objection("state", f"it changes {', '.join(changed[:3])} of the whole process")
        # Names only: values may be secrets.
        names = sorted(
            name
            for name in self.variables.keys() | os.environ.keys()
            if self.variables.get(name) != os.environ.get(name)
        )
        if names:
            return Objection("state", f"it changes environment variables ({', '.join(names[:3])})")
        return None


def count_threads() -> int:
    """Return how many threads this process has, those of libraries included."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return threading.active_count()


def count_settled_threads(usual: int | None = None) -> int:
    """Return how many threads this process keeps: one that has ended for Python is the kernel's for a moment more.

    OpenTelemetry has a pool at work in each fork for a moment.

    :param usual: where there are no more than so many, nothing is waited for; by default those that Python knows of.
    """
    ends_at, lowest = time.monotonic() + _SETTLING_S, count_threads()
    while lowest > (threading.active_count() if usual is None else usual) and time.monotonic() < ends_at:
        time.sleep(_SETTLING_STEP_S)
        lowest = min(lowest, count_threads())
    return lowest


def list_thread_names() -> list[str]:
    """Return the names of Python's threads beside the main one; threads of libraries have none."""
    return [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]


def measure_memory_bytes() -> int:
    """Return the memory of this process that is its own, in bytes; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm", "rb") as file:
            fields = file.read().split()
        return (int(fields[1]) - int(fields[2])) * PAGE_BYTES
    except (OSError, ValueError, IndexError):
        return 0


def is_asleep(pid: int) -> bool:
    """Claim that a process waits for something other than a CPU or a disk."""
    stat = read_stat(pid)
    return stat is not None and stat.state in "StT"


def has_children() -> bool:
    """Claim that a child of this process exists, running or not yet collected."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def list_descriptors() -> dict[int, str]:
    """Return what this process has open, by number."""
    found: dict[int, str] = {}
    try:
        names = os.listdir("/proc/self/fd")
    except OSError:
        return found
    for name in names:
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            # That of the listing itself.
            continue
    return found


def _is_harmless(number: int, target: str) -> bool:
    """Claim that forks may share an open file: it is only read, or has no state at all."""
    if target in HARMLESS_DEVICES:
        return True
    if not target.startswith("/") or target.startswith("/dev/"):
        return False
    try:
        with open(f"/proc/self/fdinfo/{number}") as file:
            flags = next(int(line.split()[1], 8) for line in file if line.startswith("flags:"))
    except (OSError, StopIteration, ValueError, IndexError):
        return False
    return flags & os.O_ACCMODE == os.O_RDONLY


def _name_descriptor(target: str) -> str:
    if target.startswith("socket:"):
        return "a connection (socket)"
    if target.startswith("pipe:"):
        return "a pipe"
    if target.startswith("anon_inode:"):
        return f"an object of the kernel ({target.removeprefix('anon_inode:').strip('[]')})"
    return f"{target} for writing" if target.startswith("/") and not target.startswith("/dev/") else target


def _list_shared() -> dict[str, Any]:
    shared: dict[str, Any] = {name: getattr(owner, attribute, None) for name, owner, attribute in _PATCHABLE}
    for number in signal.valid_signals():
        handler = signal.getsignal(number)
        shared[f"the handler of {getattr(number, 'name', number)}"] = _NO_HANDLER if handler is None else handler
    shared["sys.path"] = tuple(sys.path)
    shared["the working directory"] = _find_cwd()
    shared["the file mode mask"] = _find_umask()
    shared["the locale"] = locale.setlocale(locale.LC_ALL)
    shared["the recursion limit"] = sys.getrecursionlimit()
    shared["the default timeout of sockets"] = socket.getdefaulttimeout()
    shared["handlers of the root logger"] = tuple(logging.root.handlers)
    shared["the level of the root logger"] = logging.root.level
    shared["a trace function"] = sys.gettrace()
    shared["a profile function"] = sys.getprofile()
    return shared


def _find_cwd() -> str:
    try:
        return os.getcwd()
    except OSError:
        return ""


def _find_umask() -> str:
    try:
        with open("/proc/self/status") as file:
            return next(line for line in file if line.startswith("Umask:"))
    except (OSError, StopIteration):
        return ""
