"""Tells of faults that come back with every look, but only now and then: the scheduler looks once a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

_REPEAT_INTERVAL_S = 60.0


class ErrorLog(Protocol):
    """What is needed of a logger."""

    def error(self, message: str, /, *arguments: Any) -> Any:
        """Log what does not work."""


class FaultLog:
    """Logs each kind of fault once per minute."""

    def __init__(self, log: ErrorLog, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._next_at: dict[str, float] = {}

    def tell(self, message: str, *arguments: Any) -> None:
        """Log a message with its arguments, unless the same one, with whatever arguments, was logged just now."""
        now = self._clock()
        if now >= self._next_at.get(message, now):
            self._next_at[message] = now + _REPEAT_INTERVAL_S
            self._log.error(message, *arguments)
