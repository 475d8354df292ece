"""Ending attempts: SIGTERM, then, after a grace, SIGKILL to the whole process tree until its end is reported."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Collection, Mapping

from air_executor.core.events import Outcome
from air_executor.manager.attempts import Attempt
from air_executor.process.attempt_log import create_attempt_log
from air_executor.process.identity import send_signal
from air_executor.process.tree import memory_of, signal_tree

_AGAIN_S = 1.0
_MEMORY_S = 0.25


class Stopper:
    """Follows every attempt that is to end, and measures those that have a memory limit."""

    def __init__(self, attempts: Mapping[str, Attempt], servers: Collection[int]) -> None:
        """Follow nothing yet.

        :param servers: pids of the fork servers, which are never signalled whatever traces of an attempt they bear.
        """
        self._attempts = attempts
        self._servers = servers
        self._kill_at: dict[str, float] = {}
        self._grace_s: dict[str, float] = {}
        """Attempts that are to end and have no process yet, by the grace they get once they have one."""
        self._next_memory_look = 0.0

    def stop(self, attempt: Attempt, cause: Outcome, grace_s: float) -> None:
        """Ask an attempt to end, and see to it that it does."""
        attempt.stop_cause = cause
        if attempt.started is None:
            # Claimed here, its fork server will not start it; if that comes too late, its start is noticed below.
            with contextlib.suppress(OSError):
                os.close(create_attempt_log(attempt.launch.log_path))
            self._grace_s[attempt.id] = grace_s
            return
        self._terminate(attempt, grace_s)

    def kill(self, attempt: Attempt) -> None:
        """End an attempt at once; what is left is ended when its runner is reaped."""
        with contextlib.suppress(OSError):
            signal_tree(attempt.tree, signal.SIGKILL, spared=self._servers)

    def forget(self, attempt: Attempt) -> None:
        """Follow an attempt no longer, because its end is known."""
        self._kill_at.pop(attempt.id, None)
        self._grace_s.pop(attempt.id, None)

    def next_due(self) -> float | None:
        """Return the monotonic instant at which `advance` has something to do."""
        due = list(self._kill_at.values())
        if self._grace_s:
            due.append(time.monotonic() + _MEMORY_S)
        if self._limited():
            due.append(self._next_memory_look)
        return min(due, default=None)

    def advance(self, now: float) -> None:
        """Do what is due."""
        for key in list(self._grace_s):
            if self._attempts[key].started is not None:
                self._terminate(self._attempts[key], self._grace_s.pop(key))
        for key, due in list(self._kill_at.items()):
            if due <= now:
                self.kill(self._attempts[key])
                self._kill_at[key] = now + _AGAIN_S
        if now >= self._next_memory_look:
            self._enforce_memory_limits(now)

    def _terminate(self, attempt: Attempt, grace_s: float) -> None:
        runner = attempt.tree.runner
        self._kill_at[attempt.id] = time.monotonic() + grace_s
        with contextlib.suppress(OSError):
            if attempt.task.spec.runner == "airflow" and runner is not None:
                # Airflow's supervisor passes SIGTERM on, so that `on_kill` runs once and in order.
                send_signal(runner, signal.SIGTERM)
            else:
                signal_tree(attempt.tree, signal.SIGTERM, spared=self._servers)

    def _limited(self) -> list[Attempt]:
        return [
            each
            for each in self._attempts.values()
            if each.started is not None and each.stop_cause is None and each.task.spec.memory_limit_bytes is not None
        ]

    def _enforce_memory_limits(self, now: float) -> None:
        self._next_memory_look = now + _MEMORY_S
        limited = self._limited()
        if not limited:
            return
        sizes = memory_of(each.tree for each in limited)
        for attempt in limited:
            limit = attempt.task.spec.memory_limit_bytes
            if limit is not None and sizes.get(attempt.id, 0) > limit:
                attempt.stop_cause = Outcome.OUT_OF_MEMORY
                self._kill_at[attempt.id] = now + _AGAIN_S
                self.kill(attempt)
