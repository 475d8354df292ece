"""Sees to it that a manager runs on the executor's root, or says so where it may not start one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

_CHECK_INTERVAL_S = 5.0
_REPEAT_INTERVAL_S = 60.0
_SLOW_START_S = 30.0


class MessageLog(Protocol):
    """What is needed of a logger."""

    def info(self, message: str, /) -> Any:
        """Log what was done."""

    def warning(self, message: str, /) -> Any:
        """Log what a person should do."""


class ManagedRoot(Protocol):
    """What is needed of a client."""

    def manager_is_running(self) -> bool:
        """Tell whether a manager holds the root's lock."""

    def ensure_manager(self, wait_s: float, **options: float | bool | str) -> int | None:
        """Start one unless one runs or is starting; return its pid, None if it does not run after `wait_s` seconds."""


class ManagerKeeper:
    """Starts the manager, and again when it vanished. Where that is switched off, warns while jobs wait."""

    def __init__(
        self,
        *,
        autostart: bool,
        start_options: dict[str, float | bool | str],
        log: MessageLog,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._autostart = autostart
        self._start_options = start_options
        self._log = log
        self._clock = clock
        self._next_check_at = 0.0
        self._next_message_at = 0.0
        self._started_at: float | None = None

    def check(self, root: ManagedRoot, waiting: int, wait_s: float = 0.0) -> None:
        """Look after the manager, at most every few seconds. Raises no error.

        :param waiting: the number of jobs that need one.
        :param wait_s: how long to wait for one that is started; not at all in the scheduler's loop.
        """
        now = self._clock()
        if now < self._next_check_at:
            return
        self._next_check_at = now + _CHECK_INTERVAL_S
        try:
            if self._autostart:
                self._see_to_it(root, now, wait_s)
            elif root.manager_is_running():
                self._next_message_at = 0.0
            elif waiting:
                self._say(
                    now,
                    f"No manager runs, so {waiting} job(s) wait on disk. Start one with `airflow air-executor manager start`, "
                    "or set [air_executor] autostart_manager = True.",
                )
        except Exception as error:
            # Whatever keeps the manager from starting, the scheduler goes on.
            self._started_at = None
            self._say(now, f"Could not start the manager: {error}")

    def _see_to_it(self, root: ManagedRoot, now: float, wait_s: float) -> None:
        if self._started_at is None:
            if root.manager_is_running():
                self._next_message_at = 0.0
                return
            self._started_at = now
        # Also when it runs meanwhile: whoever started it has to hear of that.
        if root.ensure_manager(wait_s, **self._start_options) is not None:
            self._started_at = None
            self._next_message_at = 0.0
            self._log.info("Started a manager, because none was running.")
        elif now - self._started_at >= _SLOW_START_S:
            self._say(now, f"The manager was started {now - self._started_at:.0f} s ago and does not run yet.")

    def _say(self, now: float, message: str) -> None:
        if now >= self._next_message_at:
            self._next_message_at = now + _REPEAT_INTERVAL_S
            self._log.warning(message)
