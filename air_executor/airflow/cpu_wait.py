"""Tells whether the thread that asks gets a CPU when it wants one."""

from __future__ import annotations

_PATH = "/proc/thread-self/schedstat"
"""Nanoseconds on a CPU, nanoseconds waited for one, and how often it was on one; Linux only."""
_LONG = 0.5
"""Waiting for so much of the time that it was on a CPU, a thread has others beside it that want it as well."""


class CpuWait:
    """Of the thread that calls."""

    def __init__(self) -> None:
        """Look for the first time."""
        self._on_cpu_ns, self._waited_ns = _read()

    def was_long(self) -> bool:
        """Claim that since the last look this thread has waited for a CPU for long; False where the system does not tell."""
        on_cpu_ns, waited_ns = _read()
        was_long = waited_ns - self._waited_ns > (on_cpu_ns - self._on_cpu_ns) * _LONG
        self._on_cpu_ns, self._waited_ns = on_cpu_ns, waited_ns
        return was_long


def _read() -> tuple[int, int]:
    try:
        with open(_PATH, "rb") as file:
            on_cpu, waited, _ = file.read().split()
        return int(on_cpu), int(waited)
    except (OSError, ValueError):
        return 0, 0
