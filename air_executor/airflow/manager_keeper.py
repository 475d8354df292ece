"""Sees to it that a manager runs on the executor's root, or says so where it may not start one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

_CHECK_INTERVAL_S = 5.0
_REPEAT_INTERVAL_S = 60.0


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

    def start_manager(self, **options: float) -> object:
        """Start one in the background."""


class ManagerKeeper:
    """Starts the manager, and again when it vanished. Where that is switched off, warns while jobs wait."""

    def __init__(
        self,
        *,
        autostart: bool,
        start_options: dict[str, float],
        log: MessageLog,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._autostart = autostart
        self._start_options = start_options
        self._log = log
        self._clock = clock
        self._next_check_at = 0.0
        self._next_message_at = 0.0

    def check(self, root: ManagedRoot, waiting: int) -> None:
        """Look after the manager, at most every few seconds; `waiting` is the number of jobs that need one."""
        now = self._clock()
        if now < self._next_check_at:
            return
        self._next_check_at = now + _CHECK_INTERVAL_S
        if root.manager_is_running():
            self._next_message_at = 0.0
            return
        if self._autostart:
            self._start(root, now)
        elif waiting:
            self._say(
                now,
                f"No manager runs, so {waiting} job(s) wait on disk. Start one with `air-executor manager start`, "
                "or set [air_executor] autostart_manager = True.",
            )

    def _start(self, root: ManagedRoot, now: float) -> None:
        try:
            root.start_manager(**self._start_options)
        except Exception as error:
            # Whatever keeps the manager from starting, the scheduler goes on.
            self._say(now, f"Could not start the manager: {error}")
        else:
            self._log.info("Started a manager, because none was running.")

    def _say(self, now: float, message: str) -> None:
        if now >= self._next_message_at:
            self._next_message_at = now + _REPEAT_INTERVAL_S
            self._log.warning(message)
