"""Files as released versions wrote them: they are read, and mean what they meant, for ever.

Those of `v1` are of one real run, but `journal.rare`, which holds the events that the run had no cause for.
"""

from __future__ import annotations

import os
import shutil
from datetime import datetime, timezone
from pathlib import Path
from typing import get_args

import pytest

from air_executor.client import AirExecutorClient
from air_executor.core.events import AnyEvent, Outcome
from air_executor.core.specs import JobOptions, TaskSpec
from air_executor.core.states import JobState, TaskStatus
from air_executor.process.protocol import Ended, NotStarted, Started
from air_executor.process.spool import read_spool
from air_executor.store.environments import load_environment
from air_executor.store.intake import LoadedJob, NotLoaded, load_job, rebuild
from air_executor.store.journal import replay
from air_executor.store.requests import (
    AnyRequest,
    CancelJob,
    CloseJob,
    QueueTasks,
    RetryTasks,
    WarmUp,
    list_requests,
    read_request,
)
from air_executor.store.root import Root
from tests.support.jobs import T0, at, statuses

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "v1"
END = datetime(2026, 11, 20, 12, 46, 33, 247783, tzinfo=timezone.utc)
STATUSES = {
    "fetch": "completed",
    "flaky": "completed",
    "broken": "failed",
    "after broken": "skipped",
    "missing": "failed",
    "slow": "failed",
    "orphan": "cancelled",
    "late": "cancelled",
}
OUTCOMES = {
    "fetch": (1, Outcome.COMPLETED, 0, None),
    "flaky": (2, Outcome.COMPLETED, 0, None),
    "broken": (2, Outcome.FAILED, 3, None),
    "after broken": (0, None, None, None),
    "missing": (1, Outcome.NOT_STARTED, None, None),
    "slow": (1, Outcome.TIMED_OUT, None, 15),
    "orphan": (0, None, None, None),
    "late": (1, Outcome.CANCELLED, None, 15),
}
ERROR = "task broken failed: exit code 3; last lines: no such table (and 2 more)"
REQUESTS: dict[str, AnyRequest] = {
    "cancel": CancelJob(job="golden", reason="no longer wanted"),
    "close": CloseJob(job="golden"),
    "queue": QueueTasks(
        job="golden", tasks=(TaskSpec(id="late", command="sleep", args=("600",), dependencies=("fetch",), retries=2),)
    ),
    "retry": RetryTasks(job="golden", tasks=("broken",)),
    "retry_all": RetryTasks(job="golden"),
    "warm_up": WarmUp(environment="0123456789abcdef0123456789abcdef"),
}


@pytest.fixture
def root(tmp_path: Path) -> Root:
    root = Root.open(tmp_path / "root")
    shutil.copytree(GOLDEN / "job", root.jobs / "golden", copy_function=shutil.copyfile)
    os.chmod(root.jobs / "golden", 0o700)
    return root


def events_of(name: str) -> list[AnyEvent]:
    """Return all events of a golden journal, each line of which is whole."""
    events, size = replay(GOLDEN / name)
    assert size == (GOLDEN / name).stat().st_size
    return events


def test_the_journal_tells_the_same_story() -> None:
    events = events_of("job/journal")
    ends = [number for number, event in enumerate(events) if type(event).__name__ == "JobFinished"]
    cancelled = rebuild(events[: ends[0] + 1])
    assert (cancelled.state, cancelled.error) == (JobState.CANCELLED, "no longer wanted")
    assert statuses(cancelled) == STATUSES
    job = rebuild(events)
    assert (job.id, job.name, job.state, job.error) == (
        "5e0e2928-6ff2-48cf-a1b9-b4fa8231b776",
        "golden",
        JobState.FAILED,
        ERROR,
    )
    assert (job.updated_at, job.labels, job.is_open) == (END, {"team": "data"}, False)
    assert job.options == JobOptions(max_parallel=2, priority=3, tolerated_failures=1, is_open=True, announce=True)
    assert statuses(job) == STATUSES
    assert {
        name: (task.attempt, task.outcome, task.exit_code, task.signal) for name, task in job.tasks.items()
    } == OUTCOMES
    assert job.tasks["fetch"].spec.env == {"CITY": "Köln"}
    assert (job.tasks["slow"].spec.timeout_s, job.tasks["slow"].spec.keep_processes) == (0.2, True)
    assert job.tasks["missing"].spec.memory_limit_bytes == 100_000_000
    assert (job.tasks["late"].spec.retry_backoff, job.tasks["late"].spec.max_retry_delay_s) == (2.0, 9.0)
    assert (job.tasks["fetch"].cpu_s, job.tasks["fetch"].peak_memory_bytes) == (0.000968, 16470016)


def test_the_rare_events_mean_what_they_meant() -> None:
    events = events_of("journal.rare")
    job = rebuild(events)
    assert (job.state, job.error) == (JobState.FAILED, "its files cannot be used")
    assert job.options == JobOptions(fail_fast=True, durable=False, environment="0123456789abcdef0123456789abcdef")
    assert statuses(job) == {
        "done": "completed",
        "again": "completed",
        "voided": "completed",
        "waits": "failed",
        "next": "skipped",
    }
    done, again = job.tasks["done"], job.tasks["again"]
    assert (done.attempt, done.failures, done.started_at, done.completed_at) == (2, 1, at(1), at(2))
    assert (done.exit_code, done.cpu_s, done.peak_memory_bytes, done.killed) == (0, 0.5, 1048576, ("sleep (7)",))
    assert (again.attempt, again.failures, again.spec.runner, again.spec.workload) == (2, 1, "airflow", "workload.json")


def test_there_is_one_of_each_event() -> None:
    seen = {type(event) for name in ("job/journal", "journal.rare") for event in events_of(name)}
    assert seen == set(get_args(AnyEvent))


def test_a_manager_leaves_the_job_alone_and_can_take_it_up_again(root: Root) -> None:
    assert load_job(root, "golden", T0) is NotLoaded.FINISHED
    loaded = load_job(root, "golden", T0, reopen=True)
    assert isinstance(loaded, LoadedJob)
    assert (loaded.job.id, statuses(loaded.job)) == ("5e0e2928-6ff2-48cf-a1b9-b4fa8231b776", STATUSES)
    assert loaded.job.tasks_to_reset(["broken"]) == ("broken", "after broken")


def test_the_views_alone_give_the_same_job(root: Root) -> None:
    (root.jobs / "golden" / "journal").unlink()
    loaded = load_job(root, "golden", T0, reopen=True)
    assert isinstance(loaded, LoadedJob)
    assert statuses(loaded.job) == STATUSES
    assert {
        name: (task.attempt, task.outcome, task.exit_code, task.signal) for name, task in loaded.job.tasks.items()
    } == OUTCOMES


def test_the_views_say_the_same_to_readers(root: Root) -> None:
    client = AirExecutorClient(root.path)
    view = client.job("golden")
    assert (view.state, view.error, view.updated_at, view.labels) == (JobState.FAILED, ERROR, END, {"team": "data"})
    assert (view.tasks["total"], view.tasks["failed"], view.tasks["skipped"]) == (8, 3, 1)
    tasks = {task.id: task for task in client.tasks("golden")}
    assert {name: task.status.value for name, task in tasks.items()} == STATUSES
    assert {name: (task.attempt, task.outcome, task.exit_code, task.signal) for name, task in tasks.items()} == OUTCOMES
    assert tasks["after broken"].error == "skipped: its dependency broken is failed"
    assert tasks["late"].status is TaskStatus.CANCELLED


def test_the_spool_tells_of_the_same_attempts() -> None:
    reports = read_spool(str(GOLDEN / "spool.jsonl"))
    ended = {report.attempt_id.split("/", 2)[2]: report for report in reports if isinstance(report, Ended)}
    started = [report for report in reports if isinstance(report, Started)]
    [missing] = [report for report in reports if isinstance(report, NotStarted)]
    assert len(reports) == len(ended) + len(started) + 1
    assert {name: (report.exit_code, report.signal) for name, report in ended.items()} == {
        "fetch/1": (0, None),
        "flaky/1": (1, None),
        "flaky/2": (0, None),
        "broken/1": (3, None),
        "broken/2": (3, None),
        "slow/1": (None, 15),
        "late/1": (None, 15),
    }
    assert [report.attempt_id.split("/", 2)[2] for report in started if report.pid and report.start_ticks] == [
        "fetch/1",
        "flaky/1",
        "broken/1",
        "flaky/2",
        "slow/1",
        "late/1",
        "broken/2",
    ]
    assert missing.attempt_id == "golden/5e0e2928-6ff2-48cf-a1b9-b4fa8231b776/missing/1"
    assert not missing.already_claimed


def test_the_requests_ask_for_the_same(root: Root) -> None:
    shutil.copytree(GOLDEN / "requests", root.requests, dirs_exist_ok=True)
    assert {path.stem: read_request(path) for path in list_requests(root)} == REQUESTS
    assert {type(request) for request in REQUESTS.values()} == set(get_args(AnyRequest))


def test_the_environment_is_the_same(root: Root) -> None:
    digest = "3235d10c6faa156c942fa1c8d3f55c0a"
    shutil.copyfile(GOLDEN / "environment.json", root.environments / f"{digest}.json")
    found = load_environment(root, digest)
    assert (found.python, found.cwd) == ("/usr/bin/python3", "/")
    assert {name: os.fsencode(value) for name, value in found.variables.items()} == {
        "PATH": b"/usr/bin:/bin",
        "NAME": b"caf\xe9",
    }
