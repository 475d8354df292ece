"""Lets Airflow's supervisor notice at once that the process of a task has ended.

It selects on the sockets of that process only. They close a moment before the process can be reaped, and then the
supervisor waits up to [workers] min_heartbeat_interval (5 s) in an empty select, holding the slot. A pidfd in the same
selector becomes readable when the process can be reaped. It also sends a heartbeat right after the start: not here.
"""

from __future__ import annotations

import os
import selectors
import time
from typing import Any

_LEFTOVER_PAUSE_S = 0.02
_LEFTOVER_PATIENCE_S = 1.0
"""So long may what a task left behind go on writing to its log; then it is ended with the task anyway."""


class ProcessWatch:
    """A pidfd in a supervisor's selector, where it looks like one of its sockets."""

    def __init__(self, descriptor: int) -> None:
        """Take over an open pidfd."""
        self._descriptor = descriptor
        self._has_ended = False

    def fileno(self) -> int:
        """Return the descriptor, for the selector."""
        return self._descriptor

    def handle(self, _: object) -> bool:
        """Be called by the supervisor because the process has ended; tell it to go on watching.

        A pidfd stays readable. So as long as something that the task left behind holds one of the sockets open, the
        supervisor comes round here, and not only when its patience is long over.
        """
        if self._has_ended:
            time.sleep(_LEFTOVER_PAUSE_S)
        self._has_ended = True
        return True

    def close(self, _: object = None) -> None:
        """Close the pidfd; idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def is_possible() -> bool:
    """Tell whether this kernel and Python have pidfds."""
    return hasattr(os, "pidfd_open")


def watch(supervised: Any) -> ProcessWatch | None:
    """Watch the process of a supervisor; None where that is not possible, and nothing is changed then."""
    _count_start_as_heartbeat(supervised)
    try:
        process = ProcessWatch(os.pidfd_open(supervised.pid))
    except (OSError, AttributeError):
        return None
    try:
        # The supervisor's protocol: a handler that tells whether more may come, and what to do when not.
        supervised.selector.register(process, selectors.EVENT_READ, (process.handle, process.close))
    except (OSError, AttributeError, ValueError, KeyError):
        process.close()
        return None
    return process


def shorten_patience(module: Any) -> None:
    """Have a module of Airflow wait a second, not a minute, for sockets that outlive the process of a task."""
    patience_s = getattr(module, "SOCKET_CLEANUP_TIMEOUT", None)
    if patience_s is not None:
        module.SOCKET_CLEANUP_TIMEOUT = min(patience_s, _LEFTOVER_PATIENCE_S)


def _count_start_as_heartbeat(supervised: Any) -> None:
    """Let the first heartbeat wait for its interval: the request that started the task counts as one at the server."""
    started_at = getattr(supervised, "_last_successful_heartbeat", 0)
    if started_at and getattr(supervised, "_last_heartbeat_attempt", None) == 0:
        supervised._last_heartbeat_attempt = started_at
