"""What the client lists, with no manager."""

from __future__ import annotations

from pathlib import Path

import pytest

from air_executor.client import AirExecutorClient
from air_executor.core.states import JobState
from air_executor.store.archive import archive_job
from air_executor.store.root import Root
from tests.support.written_jobs import write_job


@pytest.fixture
def client(tmp_path: Path) -> AirExecutorClient:
    client = AirExecutorClient(tmp_path / "root")
    for seconds, name in enumerate(("old", "older", "here", "damaged")):
        write_job(client, name, JobState.COMPLETED, seconds=seconds)
    for name in ("old", "older", "damaged"):
        archive_job(Root(client.base_path), name)
    (client.base_path / "archive" / "damaged" / "state.json").write_text("{")
    (client.base_path / "archive" / "no job ☃").mkdir()
    return client


def test_archived_jobs_are_listed_for_themselves_newest_first(client: AirExecutorClient) -> None:
    assert client.job_names() == ["here"]
    assert client.archived_names() == ["damaged", "old", "older"]
    assert [job.name for job in client.archived_jobs()] == ["older", "old"]
    assert client.tasks("old")[0].id == "task-1"


def test_one_whose_name_was_used_again_is_not_listed_twice(client: AirExecutorClient) -> None:
    write_job(client, "old", JobState.WORKING)
    assert client.archived_names() == ["damaged", "older"]
    assert [job.name for job in client.archived_jobs()] == ["older"]
    assert client.job("old").state is JobState.WORKING
