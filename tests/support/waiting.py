"""Waiting for something to become true, with the last value seen in the message when it does not."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")


def wait_until(
    observe: Callable[[], Value],
    accept: Callable[[Value], object] = bool,
    *,
    timeout_s: float = 30.0,
    interval_s: float = 0.02,
    what: str = "",
) -> Value:
    """Call `observe` until `accept` likes its value, and return that value.

    :raises AssertionError: it did not happen within `timeout_s`; the message holds the last value seen.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        is_last = time.monotonic() >= deadline
        value = observe()
        if accept(value):
            return value
        if is_last:
            raise AssertionError(f"waited {timeout_s:g} s for {what or 'a condition'}; last value seen: {value!r}")
        time.sleep(interval_s)
