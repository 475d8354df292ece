"""When a failed attempt is followed by another one."""

from __future__ import annotations

from datetime import datetime, timedelta

from air_executor.core.events import Outcome
from air_executor.core.specs import TaskSpec

_NEVER_RETRIED = frozenset({Outcome.COMPLETED, Outcome.CANCELLED})


def next_attempt_at(spec: TaskSpec, outcome: Outcome, failures: int, now: datetime) -> datetime | None:
    """Return the instant of the next attempt, or None if there is none.

    :param failures: attempts of this task that have failed, this one included.
    """
    if outcome in _NEVER_RETRIED or failures > spec.retries:
        return None
    return now + timedelta(seconds=retry_delay_s(spec, failures))


def retry_delay_s(spec: TaskSpec, failures: int) -> float:
    """Return the pause in seconds after the `failures`-th failure."""
    # The exponent is bounded so that a large retry count cannot overflow the float.
    growth: float = spec.retry_backoff ** min(max(failures - 1, 0), 100)
    return min(spec.retry_delay_s * growth, spec.max_retry_delay_s)
