"""Scouts: forks that import modules before the warm parent does, so that one that hangs, crashes or clings names itself and harms nobody."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

import msgspec

from air_executor.airflow.importing import ImportCost, Judge, Threads, describe_exit, import_watched, look_at_threads
from air_executor.airflow.process_state import Objection, is_asleep
from air_executor.process.procfs import list_children
from air_executor.process.subreaper import become_subreaper

_NICENESS = 10
"""Behind everybody's work, yet not starved by it."""
_WITH_CHILDREN = 6
"""So many times longer may it sleep while a process that it has started works for it."""
_STEP_S = 0.1
_FAREWELL_S = 1.0
_MOST_GENERATIONS = 100
_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class ScoutLimits:
    """What one import may take."""

    cpu_s: float = 20.0
    asleep_s: float = 5.0
    """Without any CPU time: then it waits for something, or hangs."""
    wall_s: float = 120.0
    """After this it is too slow to tell, as on a machine that has no time."""


class _Answer(msgspec.Struct, omit_defaults=True):
    """What a scout says of one module; without anything else: it is about to import it."""

    module: str
    seconds: float | None = None
    memory_bytes: int = 0
    brings: tuple[str, ...] = ()
    cause: str | None = None
    reason: str = ""


class _Slow:
    """Stands for an import that got too little CPU time to say anything about it."""


SLOW = _Slow()


@dataclass(frozen=True)
class Finding:
    """What was found out about one module."""

    module: str
    result: ImportCost | Objection | _Slow


_DECODER = msgspec.json.Decoder(_Answer)


def scout(modules: Sequence[str], limits: ScoutLimits, judge: Judge) -> list[Finding]:
    """Have a fork import these modules one after the other; it stops behind the first that must not be imported.

    Modules that came with others are left out. The process must have no children.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _be_scout(modules, writer, judge)
    os.close(writer)
    return _Watch(child, reader, limits).follow()


class _Watch:
    """Follows one scout to its end."""

    def __init__(self, child: int, reader: int, limits: ScoutLimits) -> None:
        self._child = child
        self._reader = reader
        self._limits = limits
        self._unread = b""
        self._current: str | None = None
        self._findings: list[Finding] = []
        self._start_clock()

    def _start_clock(self) -> None:
        self._began_at = self._awake_at = time.monotonic()
        self._began_cpu_s = self._last_cpu_s = _read_cpu_s(self._child)

    def follow(self) -> list[Finding]:
        """Return what the scout has found when it is gone."""
        overrun: Objection | _Slow | None = None
        try:
            while overrun is None and self._take_answers():
                overrun = self._find_overrun()
        finally:
            os.close(self._reader)
            code = self._end(may_finish=overrun is None)
        if self._current is not None:
            objection = overrun or Objection("crash", f"its import ended the process ({describe_exit(code)})")
            self._findings.append(Finding(self._current, objection))
        return self._findings

    def _take_answers(self) -> bool:
        """Read what has come; False when the scout has said all."""
        if not select.select((self._reader,), (), (), _STEP_S)[0]:
            return True
        chunk = os.read(self._reader, 1 << 20)
        *lines, self._unread = (self._unread + chunk).split(b"\n")
        for line in lines:
            self._take(_DECODER.decode(line))
        return bool(chunk)

    def _take(self, answer: _Answer) -> None:
        self._current = None
        if answer.cause is not None:
            self._findings.append(Finding(answer.module, Objection(answer.cause, answer.reason)))
        elif answer.seconds is not None:
            cost = ImportCost(answer.seconds, answer.memory_bytes, answer.brings)
            self._findings.append(Finding(answer.module, cost))
        else:
            self._current = answer.module
            self._start_clock()

    def _find_overrun(self) -> Objection | _Slow | None:
        limits, now, cpu_s = self._limits, time.monotonic(), _read_cpu_s(self._child)
        # What waits for a CPU on a busy machine does not sleep.
        if cpu_s > self._last_cpu_s or not is_asleep(self._child):
            self._last_cpu_s, self._awake_at = cpu_s, now
        asleep_s = limits.asleep_s * (_WITH_CHILDREN if _has_children(self._child) else 1)
        if now - self._awake_at > asleep_s:
            return Objection("hang", f"its import waits for something: {asleep_s:g} s without any CPU time")
        if cpu_s - self._began_cpu_s > limits.cpu_s:
            return Objection("time", f"its import takes more than {limits.cpu_s:g} s of CPU time")
        return SLOW if now - self._began_at > limits.wall_s else None

    def _end(self, *, may_finish: bool) -> int:
        pidfd = os.pidfd_open(self._child)
        try:
            if not (may_finish and select.select((pidfd,), (), (), _FAREWELL_S)[0]):
                # It hangs, or a module has closed the pipe: nothing more will be heard of it.
                os.kill(self._child, signal.SIGKILL)
            select.select((pidfd,), (), ())
        finally:
            os.close(pidfd)
        # What its modules have started is in its group. Not yet reaped, its number is nobody else's.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(self._child, 0)[1])
        _end_orphans()
        return code


def _end_orphans() -> None:
    """End what fell to this process, a subreaper that has no children of its own: daemons that a module has started."""
    for _ in range(_MOST_GENERATIONS):
        children = list_children()
        if not children:
            return
        # Not yet reaped, their numbers are nobody else's. What they leave falls to us in the next round.
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _be_scout(modules: Sequence[str], writer: int, judge: Judge) -> NoReturn:
    code = 1
    try:
        os.setpgid(0, 0)
        os.nice(_NICENESS)
        # What daemons a module starts fall to this process, and are seen.
        become_subreaper()
        _silence(writer)
        threads = look_at_threads()
        for module in modules:
            if module not in sys.modules and not _try(module, writer, judge, threads):
                break
        code = 0
    finally:
        os._exit(code)


def _silence(writer: int) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)
    os.close(nowhere)
    os.set_inheritable(writer, False)


def _try(module: str, writer: int, judge: Judge, threads: Threads) -> bool:
    _say(writer, _Answer(module))
    result = import_watched(module, judge, threads)
    if isinstance(result, Objection):
        _say(writer, _Answer(module, cause=result.cause, reason=result.reason))
        return False
    _say(writer, _Answer(module, result.seconds, result.memory_bytes, result.brings))
    return True


def _say(writer: int, answer: _Answer) -> None:
    line = memoryview(msgspec.json.encode(answer) + b"\n")
    while line:
        line = line[os.write(writer, line) :]


def _read_cpu_s(pid: int) -> float:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / _CLOCK_TICKS
    except (OSError, ValueError, IndexError):
        return 0.0


def _has_children(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/task/{pid}/children", "rb") as file:
            return bool(file.read().strip())
    except OSError:
        return False
