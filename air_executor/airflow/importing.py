"""One import under watch: what it costs, what it brings, and whether a process that did it can still fork safely."""

from __future__ import annotations

import importlib
import os
import select
import signal
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from air_executor.airflow.process_state import (
    Objection,
    ProcessState,
    count_settled_threads,
    is_asleep,
    list_thread_names,
    measure_memory_bytes,
)

_FORK_PATIENCE_S = 3.0
_STEP_S = 0.1
_TOLD = 100
"""A test fork exits with so much more than it has threads: whatever else ends it exits with something else."""
_MOST_THREADS = 100
_MOST_WORDS = 300


Judge = Callable[[Sequence[str]], "Objection | None"]
"""Say what speaks against loading these modules, the first of which brings the others."""


@dataclass(frozen=True)
class ImportCost:
    """What an import took."""

    seconds: float
    """CPU time."""
    memory_bytes: int
    brings: tuple[str, ...]
    """Names of other modules that came with it, in the order of import."""


@dataclass(frozen=True)
class Threads:
    """How many threads there are."""

    here: int
    """After a fork: libraries such as OpenBLAS end theirs before each."""
    in_fork: int
    """What counts most: a task that is forked has so many when it begins."""
    names: tuple[str, ...]
    """Of Python's here, beside the main one."""


class ForkError(Exception):
    """A fork of this process does not work; says how that shows."""


def import_watched(module: str, judge: Judge, threads: Threads) -> ImportCost | Objection:
    """Import a module and look at what that did to this process. Whatever it raises becomes an objection.

    :param judge: told the module and what came with it; says what speaks against having these in a warm parent.
    :param threads: what there was before this module and those imported before it.
    """
    before, known = ProcessState.take(), set(sys.modules)
    memory_bytes, cpu_s = measure_memory_bytes(), time.process_time()
    objection = _import(module)
    seconds = time.process_time() - cpu_s
    brings = tuple(name for name in list(sys.modules) if name not in known and name != module)
    if objection is None:
        objection = judge((module, *brings)) or before.find_objection() or find_thread_objection(threads)
    if objection is not None:
        return objection
    return ImportCost(seconds, max(measure_memory_bytes() - memory_bytes, 0), brings)


def look_at_threads(usual: Threads | None = None) -> Threads:
    """Fork once for a test, and count.

    :param usual: how many there were; what is more is given a moment to end.
    :raises ForkError: the fork did not live to tell.
    """
    try:
        child = os.fork()
    except OSError as error:
        raise ForkError(f"a test fork failed: {error.strerror}") from None
    if child == 0:
        _be_test_fork(usual.in_fork if usual is not None else None)
    fate = _await(child)
    if fate is None:
        raise ForkError("a test fork did not come to life: it hangs in what was registered to run at forks")
    if not _TOLD < fate <= _TOLD + _MOST_THREADS:
        raise ForkError(f"a test fork ended with {describe_exit(fate)}")
    here = count_settled_threads(usual.here if usual is not None else None)
    return Threads(here, fate - _TOLD, tuple(list_thread_names()))


def find_thread_objection(before: Threads) -> Objection | None:
    """Say why forks of this process have more threads than they had, or do not work any more.

    There may have been some before: with tracing turned on, Airflow has OpenTelemetry start its own anew in each fork.
    """
    try:
        now = look_at_threads(before)
    except ForkError as error:
        return Objection("thread", str(error))
    if now.in_fork > before.in_fork:
        return Objection("thread", "it starts a thread in each process that is forked")
    if now.here > before.here:
        names = ", ".join((Counter(now.names) - Counter(before.names)).elements()) or "of a library"
        return Objection("thread", f"it starts a thread that is still there after a fork ({names})")
    return None


def _import(module: str) -> Objection | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        # Also SystemExit: some modules leave when they do not like where they are.
        words = " ".join(f"{type(error).__name__}: {error}".split())
        return Objection("error", f"its import raises {words[:_MOST_WORDS]}")
    return None


def _be_test_fork(usual: int | None) -> NoReturn:
    code = 1
    try:
        code = _TOLD + min(count_settled_threads(usual), _MOST_THREADS)
    finally:
        os._exit(code)


def _await(child: int) -> int | None:
    """Return the exit code of a child, negative for a signal; None if it slept for so long that it had to be killed."""
    pidfd = os.pidfd_open(child)
    asleep_s = 0.0
    try:
        while not (has_ended := bool(select.select((pidfd,), (), (), _STEP_S)[0])) and asleep_s < _FORK_PATIENCE_S:
            # On a busy machine it may take long to get a CPU.
            asleep_s = asleep_s + _STEP_S if is_asleep(child) else 0.0
        if not has_ended:
            os.kill(child, signal.SIGKILL)
    finally:
        os.close(pidfd)
    status = os.waitpid(child, 0)[1]
    return os.waitstatus_to_exitcode(status) if has_ended else None


def describe_exit(code: int) -> str:
    """Return words for an exit code as `os.waitstatus_to_exitcode` gives it."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
