"""Ending attempts: SIGTERM, a grace, SIGKILL, again and again until the end is reported."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from air_executor.core.events import Outcome
from air_executor.manager import stopping
from air_executor.manager.attempts import Attempt
from air_executor.manager.stopping import Stopper
from air_executor.process.protocol import Launch, Started
from air_executor.process.tree import AttemptTree
from tests.support.jobs import job_of, task
from tests.unit.manager.conftest import Clock


class Site:
    """A stopper whose signals are only noted."""

    def __init__(self, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tmp_path = tmp_path
        self.clock = clock
        self.attempts: dict[str, Attempt] = {}
        self.stopper = Stopper(self.attempts, {}.keys())
        self.signals: list[tuple[str, int]] = []
        self.sizes: dict[str, int] = {}
        monkeypatch.setattr(stopping, "signal_tree", self._signal_tree)
        monkeypatch.setattr(
            stopping, "memory_of", lambda trees: {tree.attempt_id: self.sizes.get(tree.attempt_id, 0) for tree in trees}
        )

    def _signal_tree(self, tree: AttemptTree, number: int, **_: Any) -> tuple[str, ...]:
        self.signals.append((tree.attempt_id, number))
        return ()

    def attempt(self, name: str = "x", *, has_started: bool = True, **fields: Any) -> Attempt:
        job = job_of(task("a", **fields))
        launch = Launch(attempt_id=name, log_path=str(self.tmp_path / f"{name}.log"), command="true")
        found = Attempt(job, job.tasks["a"], 1, launch)
        if has_started:
            self.start(found)
        self.attempts[name] = found
        return found

    def start(self, attempt: Attempt) -> None:
        attempt.started = Started(
            attempt_id=attempt.id, pid=2**22 + 1, start_ticks=1, boot_id="b", at=1.0, log_path=attempt.launch.log_path
        )

    def advance(self, seconds: float) -> None:
        self.clock.now += seconds
        self.stopper.advance(self.clock.now)


@pytest.fixture
def site(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Site:
    return Site(tmp_path, clock, monkeypatch)


def test_first_asked_then_ended_until_its_end_is_known(site: Site) -> None:
    attempt = site.attempt()
    site.stopper.stop(attempt, Outcome.CANCELLED, grace_s=5)
    assert attempt.stop_cause is Outcome.CANCELLED
    assert site.signals == [("x", signal.SIGTERM)]
    assert site.stopper.next_due() == site.clock.now + 5
    site.advance(4.9)
    assert len(site.signals) == 1
    site.advance(0.2)
    assert site.signals[1:] == [("x", signal.SIGKILL)]
    site.advance(1.1)
    assert site.signals[1:] == [("x", signal.SIGKILL)] * 2
    site.stopper.forget(attempt)
    site.advance(100)
    assert len(site.signals) == 3
    assert site.stopper.next_due() is None


def test_what_has_not_started_is_claimed_so_that_nobody_starts_it(site: Site) -> None:
    attempt = site.attempt(has_started=False)
    site.stopper.stop(attempt, Outcome.CANCELLED, grace_s=5)
    assert site.signals == []
    assert Path(attempt.launch.log_path).exists()


def test_what_starts_after_all_is_ended_then(site: Site) -> None:
    attempt = site.attempt(has_started=False)
    Path(attempt.launch.log_path).touch()
    site.stopper.stop(attempt, Outcome.CANCELLED, grace_s=5)
    assert site.stopper.next_due() is not None
    site.advance(1)
    assert site.signals == []
    site.start(attempt)
    site.advance(1)
    assert site.signals == [("x", signal.SIGTERM)]
    site.advance(5.1)
    assert site.signals[1:] == [("x", signal.SIGKILL)]


def test_too_much_memory_ends_it_at_once(site: Site) -> None:
    attempt, other = site.attempt("big", memory_limit_bytes=100), site.attempt("small", memory_limit_bytes=100)
    free = site.attempt("free")
    site.sizes.update(big=101, small=100, free=10**9)
    assert site.stopper.next_due() is not None
    site.advance(1)
    assert site.signals == [("big", signal.SIGKILL)]
    assert (attempt.stop_cause, other.stop_cause, free.stop_cause) == (Outcome.OUT_OF_MEMORY, None, None)
    site.advance(1.1)
    assert site.signals == [("big", signal.SIGKILL)] * 2


def test_without_limits_nothing_is_measured(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.attempt()
    monkeypatch.setattr(stopping, "memory_of", lambda _: pytest.fail("it was measured"))
    site.advance(10)
    assert site.stopper.next_due() is None


def test_a_supervised_task_is_told_through_its_supervisor(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    monkeypatch.setattr(stopping, "send_signal", lambda _, number: told.append(number))
    site.stopper.stop(site.attempt(runner="airflow"), Outcome.CANCELLED, grace_s=5)
    assert (told, site.signals) == ([signal.SIGTERM], [])
    site.advance(5.1)
    assert site.signals == [("x", signal.SIGKILL)]
