"""A job is in the root whole or not at all, whoever else submits at the same moment and whatever the disk does."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from air_executor.core.specs import JobOptions, JobSpec
from air_executor.errors import DependencyError, InvalidJobError, InvalidNameError, JobExistsError, SubmissionError
from air_executor.store import files, submission
from air_executor.store.root import Root
from air_executor.store.submission import submit_job
from tests.support.jobs import task
from tests.support.processes import at_once


def spec(name: str = "job", **options: object) -> JobSpec:
    return JobSpec(name=name, tasks=(task("a"), task("b", "a", args=("x",))), options=JobOptions(**options))


def leftovers(root: Root) -> list[str]:
    return [path.name for path in (*root.tmp.iterdir(), *root.jobs.iterdir())]


def test_what_lies_there_when_it_returns(root: Root) -> None:
    job_id = submit_job(root, spec(), {"workload.json": b"secret"})
    directory = root.jobs / "job"
    state = json.loads((directory / "state.json").read_text())
    assert (state["id"], state["name"], state["state"]) == (job_id, "job", "waiting")
    assert state["created_at"].endswith("Z")
    tasks = json.loads((directory / "tasks.json").read_text())
    assert [(each["id"], each["job_name"], each["status"]) for each in tasks] == [
        ("a", "job", "pending"),
        ("b", "job", "pending"),
    ]
    assert list(tasks[1])[:4] != []
    assert {"id", "job_name", "command", "args", "dependencies", "status", "created_at"} <= tasks[1].keys()
    assert tasks[1]["started_at"] is tasks[1]["completed_at"] is tasks[1]["error"] is None
    for path in directory.rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path
    assert leftovers(root) == ["job"]


def test_a_name_is_given_once(root: Root) -> None:
    submit_job(root, spec())
    before = (root.jobs / "job" / "state.json").read_bytes()
    with pytest.raises(JobExistsError, match="a job named job exists: choose another name"):
        submit_job(root, spec())
    assert (root.jobs / "job" / "state.json").read_bytes() == before
    assert leftovers(root) == ["job"]


@pytest.mark.parametrize("kind", ["file", "empty directory", "dangling link"])
def test_nothing_in_its_place_is_replaced(root: Root, kind: str) -> None:
    path = root.jobs / "job"
    if kind == "file":
        path.write_text("mine")
    elif kind == "empty directory":
        path.mkdir()
    else:
        path.symlink_to("nowhere")
    with pytest.raises(JobExistsError):
        submit_job(root, spec())
    assert leftovers(root) == ["job"]
    assert path.is_symlink() if kind == "dangling link" else not path.is_dir() or not list(path.iterdir())


def test_fifty_at_once_with_names_of_their_own(root: Root) -> None:
    def submit(number: int) -> list[str]:
        return [submit_job(root, spec(f"job-{number}-{n}")) for n in range(4)]

    ids = {job_id for group in at_once(50, submit) for job_id in group}
    assert len(ids) == 200
    assert len(root.job_names()) == 200
    found = {json.loads((root.jobs / name / "state.json").read_text())["id"] for name in root.job_names()}
    assert found == ids
    assert list(root.tmp.iterdir()) == []


def test_of_fifty_at_once_with_one_name_exactly_one_wins(root: Root) -> None:
    def submit(_: int) -> list[str | None]:
        won: list[str | None] = []
        for turn in range(10):
            try:
                won.append(submit_job(root, spec(f"job-{turn}", durable=False)))
            except JobExistsError:
                won.append(None)
        return won

    answers = at_once(50, submit)
    for turn in range(10):
        winners = [answer[turn] for answer in answers if answer[turn] is not None]
        assert len(winners) == 1
        assert json.loads((root.jobs / f"job-{turn}" / "state.json").read_text())["id"] == winners[0]
    assert list(root.tmp.iterdir()) == []


def test_what_is_not_valid_leaves_nothing(root: Root) -> None:
    cases: list[tuple[JobSpec, type[Exception]]] = [
        (JobSpec(name="../job", tasks=(task("a"),)), InvalidNameError),
        (JobSpec(name="job", tasks=()), InvalidJobError),
        (JobSpec(name="job", tasks=(task("a", "b"), task("b", "a"))), DependencyError),
    ]
    for each, error in cases:
        with pytest.raises(error):
            submit_job(root, each)
    with pytest.raises(InvalidNameError, match="attachment"):
        submit_job(root, spec(), {"../x": b""})
    assert leftovers(root) == []


def test_text_that_no_file_can_hold_is_refused(root: Root) -> None:
    with pytest.raises(InvalidJobError, match="'a'"):
        submit_job(root, JobSpec(name="job", tasks=(task("a", args=("\udc80",)),)))
    assert leftovers(root) == []


@pytest.mark.parametrize("call", ["write", "fsync", "rename", "mkdir"])
@pytest.mark.parametrize("number", range(1, 8))
def test_a_disk_that_refuses_any_step_leaves_nothing(
    root: Root, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    real, calls = getattr(os, call), []

    def failing(*args: object, **kwargs: object) -> object:
        calls.append(args)
        if len(calls) == number:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(args[0]))
        return real(*args, **kwargs)

    monkeypatch.setattr(os, call, failing)
    refusal = ""
    try:
        submit_job(root, spec())
    except SubmissionError as error:
        refusal = str(error)
    monkeypatch.undo()
    if len(calls) < number:
        assert (refusal, leftovers(root)) == ("", ["job"])
    else:
        assert "job job was not submitted" in refusal
        assert "No space left on device" in refusal
        assert leftovers(root) == []


def test_without_durable_nothing_is_synced(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: pytest.fail("it was synced"))
    submit_job(root, spec(durable=False))
    assert root.job_names() == ["job"]


def test_files_are_synced_before_they_are_there_and_names_before_it_returns(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    real_fsync, real_rename = os.fsync, os.rename

    def fsync(fd: int) -> None:
        steps.append(Path(os.readlink(f"/proc/self/fd/{fd}")).name)
        real_fsync(fd)

    def rename(source: Path, target: Path) -> None:
        steps.append("rename")
        real_rename(source, target)

    monkeypatch.setattr(submission.os, "fsync", fsync)
    monkeypatch.setattr(files.os, "rename", rename)
    submit_job(root, spec(), {"more": b"x"})
    assert set(steps[:3]) == {"more", "tasks.json", "state.json"}
    assert steps[3:] == ["rename", "job", "jobs"]
