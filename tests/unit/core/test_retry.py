"""When a failed attempt is followed by another one."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from air_executor.core.events import Outcome
from air_executor.core.retry import next_attempt_at, retry_delay_s
from tests.support.jobs import T0, at, task

FAILURES = [Outcome.FAILED, Outcome.TIMED_OUT, Outcome.OUT_OF_MEMORY, Outcome.LOST, Outcome.NOT_STARTED]


@pytest.mark.parametrize("outcome", FAILURES)
def test_every_kind_of_failure_is_retried_as_often_as_allowed(outcome: Outcome) -> None:
    spec = task("a", retries=2, retry_delay_s=10)
    assert [next_attempt_at(spec, outcome, failures, T0) for failures in (1, 2, 3)] == [at(10), at(10), None]


@pytest.mark.parametrize("outcome", [Outcome.COMPLETED, Outcome.CANCELLED])
def test_what_completed_or_was_cancelled_is_not_retried(outcome: Outcome) -> None:
    assert next_attempt_at(task("a", retries=5), outcome, 1, T0) is None


def test_pauses_grow_up_to_their_limit() -> None:
    spec = task("a", retry_delay_s=2, retry_backoff=3, max_retry_delay_s=50)
    assert [retry_delay_s(spec, failures) for failures in (1, 2, 3, 4, 5)] == [2, 6, 18, 50, 50]


@given(st.floats(0, 3e8), st.floats(1, 1000), st.floats(0, 3e8), st.integers(1, 2**31))
def test_a_pause_is_a_number_within_its_limit(delay: float, backoff: float, limit: float, failures: int) -> None:
    pause = retry_delay_s(task("a", retry_delay_s=delay, retry_backoff=backoff, max_retry_delay_s=limit), failures)
    assert math.isfinite(pause)
    assert 0 <= pause <= limit
