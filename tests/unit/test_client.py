"""What the client lists, with no manager."""

from __future__ import annotations

from pathlib import Path

import pytest

from air_executor.client import AirExecutorClient
from air_executor.core.states import JobState, TaskStatus
from air_executor.errors import JobNotFoundError
from air_executor.store import archive
from air_executor.store.archive import archive_job
from air_executor.store.root import Root
from tests.support.written_jobs import write_job, write_result


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


LOOKS = {
    "job": lambda client: client.job("here").name,
    "tasks": lambda client: client.tasks("here")[0].id,
    "read_log": lambda client: client.read_log("here", "task-1"),
    "result": lambda client: client.result("here", "task-1"),
    "read_file": lambda client: client.read_file("here", "tasks.json")[:1],
    "watch_job": lambda client: client.watch_job("here").close(),
}


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
@pytest.mark.parametrize("returns", [False, True])
def test_job_that_moves_while_it_is_looked_at_is_found(client, monkeypatch, look, returns) -> None:
    directory = write_job(client, "here", JobState.COMPLETED, {"task-1": TaskStatus.COMPLETED})
    write_result(client, "here", "task-1", 42)
    (directory / "logs").mkdir()
    (directory / "logs" / "task-1.1.log").write_bytes(b"said")
    expected = look(client)
    root = Root(client.base_path)
    if returns:
        archive_job(root, "here")
    find_job = archive.find_job

    def find(of: Root, name: str) -> Path:
        found = find_job(of, name)
        # Between the moment when it is found and the one when it is read, once.
        if (found.parent == root.archive) is returns:
            move = archive.restore_job if returns else archive_job
            move(root, name)
        return found

    monkeypatch.setattr(archive, "find_job", find)

    assert look(client) == expected


@pytest.mark.parametrize("look", [look for name, look in LOOKS.items() if name != "read_file"])
def test_job_that_is_not_there_is_named(client, look) -> None:
    archive.remove_job(Root(client.base_path), "here")

    with pytest.raises(JobNotFoundError, match="here"):
        look(client)


def test_file_that_is_not_there_is_no_job_that_is_not_there(client) -> None:
    with pytest.raises(FileNotFoundError):
        client.read_file("here", "nothing.json")


def test_watch_on_all_jobs_wakes_for_a_new_one(client) -> None:
    with client.watch_jobs() as watch:
        client.create_job("new", [{"command": "true"}])

        assert watch.wait(5)
