"""Leaving in order: whatever ends a benchmark, the processes that it started end with it."""

from __future__ import annotations

import signal
from typing import NoReturn

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def clean_up_on_signals() -> None:
    """Let SIGTERM and SIGHUP unwind the stack as Ctrl-C does, so that every context manager stops what is its own."""
    for sign in _ENDING:
        signal.signal(sign, _interrupt)


def _interrupt(*_: object) -> NoReturn:
    # Once is enough: a second one must not break off the clean-up, which is bounded.
    for sign in _ENDING:
        signal.signal(sign, signal.SIG_IGN)
    raise KeyboardInterrupt
