from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from air_executor.web import archived_jobs
from air_executor.web.reader import JobReader
from tests.unit.web.conftest import Jobs, Site, ran

SALES = {"dag_id": "sales"}


@pytest.fixture
def archive(jobs: Jobs) -> Callable[..., Path]:
    def move(name: str, state: str = "completed") -> Path:
        directory = jobs.put(name, ran("task"), state=state, labels=SALES)
        # As its journal leaves it, and its name is then the last thing that changes.
        os.utime(directory)
        return directory.rename(jobs.path / "archive" / name)

    return move


@pytest.fixture
def read(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the jobs whose files are read, as they are."""
    monkeypatch.setattr(archived_jobs, "_SHARE", 0.0)
    monkeypatch.setattr("air_executor.web.reader._LIST_REUSE_S", 0.0)
    monkeypatch.setattr("air_executor.web.reader._LIST_SHARE", 0.0)
    names: list[str] = []
    read_job = jobs.client.job
    monkeypatch.setattr(jobs.client, "job", lambda name: (names.append(name), read_job(name))[1])
    return names


def test_who_asks_by_label_finds_archived_jobs_too(site: Site, jobs: Jobs, archive: Callable[..., Path]) -> None:
    archive("gone")
    jobs.put("there", ran("task"), labels=SALES)
    archive("failed", "failed")
    (jobs.path / "archive" / "damaged").mkdir()
    jobs.put("other", ran("task"))

    found = site.json("/jobs?label=dag_id:sales")

    assert [job["name"] for job in found["jobs"]] == ["failed", "there", "gone"]
    assert (found["total"], found["counts"]["completed"], found["counts"]["failed"]) == (3, 1, 1)
    assert site.json("/jobs?label=dag_id:wages")["total"] == 0
    assert {job["name"] for job in site.json("/jobs")["jobs"]} == {"there", "other"}


def test_a_job_in_jobs_hides_an_archived_one_of_its_name(
    jobs: Jobs, archive: Callable[..., Path], read: list[str]
) -> None:
    archive("job")
    archive("damaged")
    jobs.put("job", ran("task"), labels=SALES)
    jobs.by_hand("damaged", "{", "[]")

    assert [(job.name, job.state.value) for job in JobReader(jobs.client).jobs(with_archived=True)] == [
        ("job", "working")
    ]


def test_archived_jobs_are_read_once(jobs: Jobs, archive: Callable[..., Path], read: list[str]) -> None:
    reader = JobReader(jobs.client)
    for number in range(20):
        archive(f"job-{number}")

    assert len(reader.jobs(with_archived=True)) == 20
    read.clear()
    assert len(reader.jobs(with_archived=True)) == 20
    assert read == []
    # One is brought back, and archived anew; one is new; one is removed.
    back = (jobs.path / "archive" / "job-7").rename(jobs.path / "jobs" / "job-7")
    assert len(reader.jobs(with_archived=True)) == 20
    read.clear()
    assert back.exists()
    archive("job-7", "failed")
    archive("job-20")
    (jobs.path / "archive" / "job-3").rename(jobs.path / "tmp" / "job-3")

    found = {job.name: job.state.value for job in reader.jobs(with_archived=True)}

    assert len(found) == 20
    assert "job-3" not in found
    assert found["job-7"] == "failed"
    assert sorted(read) == ["job-20", "job-7"]


def test_an_archive_that_has_not_changed_is_not_looked_through(
    jobs: Jobs, archive: Callable[..., Path], read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = JobReader(jobs.client)
    archive("job")
    looked: list[object] = []
    scandir = os.scandir
    monkeypatch.setattr(archived_jobs.os, "scandir", lambda path: (looked.append(path), scandir(path))[1])
    directory = jobs.path / "archive"

    def count() -> int:
        looked.clear()
        assert len(reader.jobs(with_archived=True)) == 1
        return looked.count(str(directory))

    # What has just changed may change once more without another time.
    assert [count(), count()] == [1, 1]
    long_ago = time.time() - 60
    os.utime(directory, (long_ago, long_ago))
    assert [count(), count(), count()] == [1, 0, 0]


def test_of_very_many_the_newest_are_found(
    jobs: Jobs, archive: Callable[..., Path], read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archived_jobs, "MAX_ARCHIVED", 3)
    for number in range(5):
        os.utime(archive(f"job-{number}"), (number, number))

    assert [job.name for job in JobReader(jobs.client).jobs(with_archived=True)] == ["job-4", "job-3", "job-2"]
    assert sorted(read) == ["job-2", "job-3", "job-4"]
