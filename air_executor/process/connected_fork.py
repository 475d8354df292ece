"""A fork of the present process, and a connection to it."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from typing import NoReturn


def fork_connected(become: Callable[[socket.socket], NoReturn]) -> tuple[int, socket.socket]:
    """Fork; returns the child's pid and the parent's end of a socket pair. Raises OSError when nothing was forked.

    :param become: what the child does with its end. All signals are blocked there: none may reach it before the handlers
        of this process are gone from it.
    """
    ours, theirs = socket.socketpair()
    previous_mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            ours.close()
            become(theirs)
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
        signal.pthread_sigmask(signal.SIG_SETMASK, previous_mask)
    return pid, ours
