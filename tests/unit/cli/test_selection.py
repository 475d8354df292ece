from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from air_executor.cli.selection import resolve_job, resolve_jobs, select
from air_executor.client import AirExecutorClient, JobView
from air_executor.core.states import JobState
from air_executor.errors import JobNotFoundError

T0 = datetime(2025, 10, 2, tzinfo=timezone.utc)


def view(name: str, state: str, created_s: float) -> JobView:
    created_at = T0 + timedelta(seconds=created_s)
    return JobView(id=name, name=name, state=JobState(state), created_at=created_at, updated_at=T0)


JOBS = [view("nightly-1", "failed", 1), view("nightly-2", "working", 2), view("b", "completed", 3)]


@pytest.mark.parametrize(
    ("word", "names"),
    [
        ("b", ["b"]),
        ("nightly-*", ["nightly-1", "nightly-2"]),
        ("last", ["b"]),
        ("failed", ["nightly-1"]),
        ("unfinished", ["nightly-2"]),
        ("all", ["nightly-1", "nightly-2", "b"]),
        ("waiting", []),
        ("nightly", []),
    ],
)
def test_words_select_jobs(word: str, names: list[str]) -> None:
    assert [job.name for job in select(JOBS, word)] == names


def test_a_job_of_that_very_name_comes_first() -> None:
    assert [job.name for job in select([*JOBS, view("failed", "working", 9)], "failed")] == ["failed"]


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AirExecutorClient:
    monkeypatch.delenv("AIR_EXECUTOR_JOB", raising=False)
    client = AirExecutorClient(tmp_path / "root")
    for name in ("one", "two"):
        client.create_job(name, [{"command": "true"}])
    return client


def test_the_last_job_is_meant_unless_we_run_in_one(client: AirExecutorClient, monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_job(client, None) == "two"
    monkeypatch.setenv("AIR_EXECUTOR_JOB", "one")
    assert resolve_job(client, None) == "one"


def test_each_job_is_named_once(client: AirExecutorClient) -> None:
    assert resolve_jobs(client, ("two", "*", "last")) == ["two", "one"]


def test_a_name_that_is_nearly_right_gets_a_hint(client: AirExecutorClient) -> None:
    with pytest.raises(JobNotFoundError, match="did you mean one"):
        resolve_jobs(client, ("onee",))


@pytest.mark.parametrize("word", ["x*", "failed", "../jobs/one", "a/b", ""])
def test_what_means_nothing_is_an_error(client: AirExecutorClient, word: str) -> None:
    with pytest.raises(JobNotFoundError):
        resolve_jobs(client, (word,))


def test_one_job_is_not_several(client: AirExecutorClient) -> None:
    with pytest.raises(JobNotFoundError, match="means 2 jobs"):
        resolve_job(client, "waiting")
