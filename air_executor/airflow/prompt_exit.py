"""Lets Airflow's supervisor notice at once that the process of a task has ended.

It selects on the sockets of that process only. They close a moment before the process can be reaped, and then the
supervisor waits up to [workers] min_heartbeat_interval (5 s) in an empty select, holding the slot. A pidfd in the same
selector becomes readable when the process can be reaped. It also sends a heartbeat right after the start: not here.
"""

from __future__ import annotations

import functools
import os
import selectors
from collections.abc import Callable
from typing import Any

from air_executor.airflow import compat

_METHOD = "_monitor_subprocess"


class _ProcessDescriptor:
    """A pidfd that looks enough like a socket for the supervisor, which closes what has nothing more to say."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def install() -> tuple[str, ...]:
    """Make every supervisor class of this process watch a pidfd; return the names of the classes changed.

    Idempotent. A class without the expected method is left as it is: it then waits as Airflow does.
    """
    if not hasattr(os, "pidfd_open"):
        return ()
    installed = []
    for supervised in compat.find_supervised_classes():
        original = supervised.__dict__.get(_METHOD)
        if original is None or hasattr(original, "__wrapped__"):
            continue
        setattr(supervised, _METHOD, _watch_pidfd(original))
        installed.append(supervised.__name__)
    return tuple(installed)


def _watch_pidfd(original: Callable[[Any], None]) -> Callable[[Any], None]:
    @functools.wraps(original)
    def monitor(self: Any) -> None:
        _count_start_as_heartbeat(self)
        descriptor = _register(self)
        try:
            original(self)
        finally:
            if descriptor is not None:
                descriptor.close()

    return monitor


def _count_start_as_heartbeat(supervised: Any) -> None:
    """Let the first heartbeat wait for its interval: the request that started the task counts as one at the server."""
    started_at = getattr(supervised, "_last_successful_heartbeat", 0)
    if started_at and getattr(supervised, "_last_heartbeat_attempt", None) == 0:
        supervised._last_heartbeat_attempt = started_at


def _register(supervised: Any) -> _ProcessDescriptor | None:
    """Watch the process of a supervisor; None where that is not possible, and nothing is changed then."""
    try:
        descriptor = _ProcessDescriptor(os.pidfd_open(supervised.pid))
    except (OSError, AttributeError):
        return None

    def stop_watching(watched: _ProcessDescriptor) -> None:
        supervised.selector.unregister(watched)

    try:
        # The supervisor's protocol: a handler that tells whether more may come, and what to do when not.
        supervised.selector.register(descriptor, selectors.EVENT_READ, (_expect_nothing_more, stop_watching))
    except (OSError, AttributeError, ValueError, KeyError):
        descriptor.close()
        return None
    return descriptor


def _expect_nothing_more(_: _ProcessDescriptor) -> bool:
    return False
