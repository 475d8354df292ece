"""What the manager makes of attempts that earlier managers launched, with no process of its own."""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from collections.abc import Iterator

import pytest

from air_executor.core.events import Outcome, TaskEnded, TaskLaunched
from air_executor.core.planning import Planner, StopTask
from air_executor.core.specs import JobOptions, JobSpec
from air_executor.manager.attempts import attempt_id
from air_executor.manager.board import Board
from air_executor.manager.job_run import JobRun
from air_executor.manager.settings import ManagerSettings
from air_executor.manager.supervision import Supervision, run_time_s
from air_executor.process.identity import boot_clock_s, boot_id, identify
from air_executor.process.protocol import Started
from air_executor.process.spool import Spool
from air_executor.store.intake import LoadedJob, load_job
from air_executor.store.records import utc_now
from air_executor.store.root import Root
from air_executor.store.submission import submit_job
from tests.support.jobs import task

HOUR_S = 3600.0


@pytest.fixture
def runner() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def planner() -> Planner:
    return Planner(slots=1)


@pytest.fixture
def supervision(root: Root, planner: Planner) -> Iterator[Supervision]:
    settings = ManagerSettings()
    with selectors.DefaultSelector() as selector:
        yield Supervision(root, Board(root, planner, settings), planner, selector, settings)


def launched_before(root: Root, runner: subprocess.Popen[bytes], at: float) -> JobRun:
    """Return a job of which an earlier manager launched an attempt; its fork server has told of it at `at`."""
    submit_job(root, JobSpec(name="job", tasks=(task("a", timeout_s=HOUR_S),), options=JobOptions(durable=False)))
    loaded = load_job(root, "job", utc_now())
    assert isinstance(loaded, LoadedJob)
    loaded.job.apply(TaskLaunched(at=utc_now(), task="a", attempt=1))
    log = root.log("job", "a", 1)
    log.touch()
    identity = identify(runner.pid)
    assert identity is not None
    spool = Spool(str(root.run / "command-earlier.jsonl"))
    spool.append(
        [
            Started(
                attempt_id=attempt_id(loaded.job, "a", 1),
                pid=identity.pid,
                start_ticks=identity.start_ticks,
                boot_id=identity.boot_id,
                at=at,
                log_path=str(log),
            )
        ]
    )
    spool.close()
    return JobRun(root, loaded.job, loaded.journal)


@pytest.mark.parametrize("clock_jump_s", [-1000 * HOUR_S, -10.0, 0.0, 10.0, 1000 * HOUR_S])
def test_the_time_of_an_adopted_runner_is_that_which_it_has_run_whoever_sets_the_clock(
    root: Root, supervision: Supervision, planner: Planner, runner: subprocess.Popen[bytes], clock_jump_s: float
) -> None:
    before = time.monotonic()
    run = launched_before(root, runner, at=time.time() - clock_jump_s)
    supervision.take_over(run)
    due = planner.next_due()
    assert due is not None
    # It was started a moment before: the whole hour is left, less that moment.
    assert before + HOUR_S / 2 < due < time.monotonic() + HOUR_S
    assert planner.plan(due - 1) == []
    assert planner.plan(due) == [StopTask(run.job, "a", 1, Outcome.TIMED_OUT)]


def test_the_time_of_a_runner_counts_from_its_launch_not_from_its_fork() -> None:
    forked_s = boot_clock_s() - 100
    started = Started(
        attempt_id="job/id/a/1",
        pid=os.getpid(),
        start_ticks=int(forked_s * os.sysconf("SC_CLK_TCK")),
        boot_id=boot_id(),
        at=time.time(),
        log_path="/log",
        waited_s=60,
    )
    assert 39 < run_time_s(started) < 60


def test_an_attempt_that_is_over_is_not_timed_out(
    root: Root, supervision: Supervision, planner: Planner, runner: subprocess.Popen[bytes]
) -> None:
    run = launched_before(root, runner, at=time.time())
    supervision.take_over(run)
    due = planner.next_due()
    assert due is not None
    run.job.apply(TaskEnded(at=utc_now(), task="a", attempt=1, outcome=Outcome.COMPLETED))
    assert not any(isinstance(action, StopTask) for action in planner.plan(due))
    assert os.path.exists(f"/proc/{runner.pid}")
