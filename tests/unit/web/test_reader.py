from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from air_executor.errors import AirExecutorError
from air_executor.web.reader import JobReader
from tests.unit.web.conftest import Jobs, ran, record

FIELDS = [
    {"cwd": "/srv"},
    {"cwd": '/srv/"quoted"\\', "env": {"A": '}"{,"cwd":"x"', "B": "\\"}},
    {"env": {"A": "b"}, "command": ',"cwd":"kept"', "args": ('"env":{', ',"env":{"A":"b"}')},
    {"workload": "workload.json", "error": "\u2028 é 😀"},
    {},
]


@pytest.fixture
def reader(jobs: Jobs) -> JobReader:
    return JobReader(jobs.client)


@pytest.mark.parametrize("fields", [*([each] for each in FIELDS), FIELDS, [{"cwd": f"/srv/{n}"} for n in range(10)]])
def test_what_is_shown_of_tasks_is_all_but_what_is_hidden(
    jobs: Jobs, reader: JobReader, fields: list[dict[str, object]]
) -> None:
    directory = jobs.put("job", *(ran(f"task-{n}-{m}", **each) for n, each in enumerate(fields) for m in range(3)))
    written = json.loads((directory / "tasks.json").read_text())

    shown = json.loads(reader.tasks_json("job"))

    assert shown == [
        {key: value for key, value in task.items() if key not in ("env", "cwd", "workload")} for task in written
    ]
    assert [task.id for task in reader.tasks("job")] == [task["id"] for task in written]
    assert not any(task.env or task.cwd or task.workload for task in reader.tasks("job"))


@pytest.mark.parametrize("text", ["", "{}", "[1]", '[\n{"id":"a","command":"true"', '[\n{"id":5}\n]', "[" * 100_000])
def test_a_damaged_file_is_an_error_that_names_it(jobs: Jobs, reader: JobReader, text: str) -> None:
    jobs.replace(jobs.put("job", record("task")) / "tasks.json", text.encode())

    for ask in (reader.tasks_json, reader.tasks):
        with pytest.raises(AirExecutorError, match=r"tasks\.json"):
            ask("job")


def test_a_list_reads_only_what_changed(jobs: Jobs, reader: JobReader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("air_executor.web.reader._LIST_REUSE_S", 0.0)
    monkeypatch.setattr("air_executor.web.reader._LIST_SHARE", 0.0)
    read: list[str] = []
    read_job = jobs.client.job
    monkeypatch.setattr(jobs.client, "job", lambda name: (read.append(name), read_job(name))[1])
    for number in range(20):
        jobs.put(f"job-{number}", record("task"))

    assert len(reader.jobs()) == 20
    read.clear()
    jobs.put("job-7", ran("task"))
    (jobs.path / "jobs" / "job-9").rename(jobs.path / "archive" / "job-9")

    assert [len(reader.jobs()), reader.jobs()[0].name] == [19, "job-7"]
    assert read == ["job-7"]


def test_a_job_is_found_while_it_moves(jobs: Jobs, reader: JobReader) -> None:
    directory = jobs.put("job", ran("task"), state="completed")
    archived = jobs.path / "archive" / "job"
    must_stop = threading.Event()

    def move() -> None:
        places: tuple[Path, Path] = (directory, archived)
        while not must_stop.is_set():
            places[0].rename(places[1])
            places = (places[1], places[0])
            must_stop.wait(0.005)

    mover = threading.Thread(target=move)
    mover.start()
    try:
        for _ in range(200):
            assert reader.job("job").state.value == "completed"
            assert reader.tasks_json("job")
    finally:
        must_stop.set()
        mover.join(30)
