"""From a wait status to an `Ended` record; and collecting, in the manager, runners whose fork server was killed."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

import msgspec

from air_executor.process.cgroup import AttemptCgroup
from air_executor.process.identity import identify
from air_executor.process.protocol import Ended
from air_executor.process.sweep import kill_all
from air_executor.process.tree import AttemptTree

if TYPE_CHECKING:
    from collections.abc import Collection
    from resource import struct_rusage

# ru_maxrss is in kilobytes everywhere but on macOS.
_MAXRSS_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024


class RunnerExit(msgspec.Struct, frozen=True):
    """How a runner ended, and what it and what it waited for have used."""

    exit_code: int
    """Negative for a signal."""
    cpu_s: float = 0.0
    peak_memory_bytes: int = 0
    """Of the largest single process; up to exec a spawned process counts as large as its fork server."""


def read_exit(status: int, usage: struct_rusage) -> RunnerExit:
    """Turn what `os.wait4` returned into an exit."""
    return RunnerExit(
        exit_code=os.waitstatus_to_exitcode(status),
        cpu_s=round(usage.ru_utime + usage.ru_stime, 6),
        peak_memory_bytes=usage.ru_maxrss * _MAXRSS_UNIT_BYTES,
    )


def describe_exit(
    attempt_id: str,
    found: RunnerExit,
    *,
    killed: tuple[str, ...] = (),
    out_of_memory: bool = False,
) -> Ended:
    """Turn an exit into a record, as of now."""
    code = found.exit_code
    return Ended(
        attempt_id=attempt_id,
        at=time.time(),
        exit_code=code if code >= 0 else None,
        signal=-code if code < 0 else None,
        cpu_s=found.cpu_s,
        peak_memory_bytes=found.peak_memory_bytes,
        killed=killed,
        out_of_memory=out_of_memory,
    )


def collect(tree: AttemptTree, *, keep_processes: bool = False, spared: Collection[int] = ()) -> Ended | None:
    """Collect a runner that fell to the calling process, end the rest of its tree; None while it still runs.

    Waits for exactly that pid. Raises ChildProcessError when the runner is not a child of the caller.
    """
    if tree.runner is None:
        raise ChildProcessError(f"no runner is known for attempt {tree.attempt_id}")
    if identify(tree.runner.pid) != tree.runner:
        # The pid is that of another process by now, maybe another child of the caller, whose exit is not ours to take.
        raise ChildProcessError(f"the runner of attempt {tree.attempt_id} is gone")
    pid, status, usage = os.wait4(tree.runner.pid, os.WNOHANG)
    if pid == 0:
        return None
    killed = () if keep_processes else kill_all(tree, spared=spared, runner_was_just_reaped=True)
    out_of_memory = False
    if tree.cgroup is not None:
        cgroup = AttemptCgroup(tree.cgroup)
        out_of_memory = cgroup.ran_out_of_memory()
        cgroup.remove()
    return describe_exit(tree.attempt_id, read_exit(status, usage), killed=killed, out_of_memory=out_of_memory)


def reap_strangers(own_children: Collection[int]) -> int:
    """Reap ended orphans that fell to the calling subreaper, without touching its own children; counts them."""
    reaped = 0
    while True:
        try:
            result = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return reaped
        # An own child at the head of the queue hides what is behind it until its owner has collected it.
        if result is None or result.si_pid in own_children:
            return reaped
        os.waitpid(result.si_pid, os.WNOHANG)
        reaped += 1
