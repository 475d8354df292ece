"""What is new is found once; what is incomplete or broken gets its time."""

from __future__ import annotations

import errno
import json
import os
from typing import Any

import pytest

from air_executor.core.specs import JobSpec
from air_executor.manager.inbox import Inbox
from air_executor.store.root import Root
from air_executor.store.submission import submit_job
from tests.support.jobs import T0, task
from tests.unit.manager.conftest import Clock


class Found:
    """An inbox, and what it told."""

    def __init__(self, root: Root) -> None:
        self.root = root
        self.active: set[str] = set()
        self.finished: list[str] = []
        self.inbox = Inbox(root, self.finished.append, self.active.__contains__)

    def look(self, *names: str) -> list[str]:
        """Look where events said, or at everything; what is found is under the manager from then on."""
        found = [loaded.job.name for loaded in self.inbox.look(list(names) if names else None, T0)]
        self.active.update(found)
        return found

    def submit(self, name: str) -> None:
        submit_job(self.root, JobSpec(name=name, tasks=(task("a"),)))

    def write(self, name: str, **files: str) -> None:
        directory = self.root.jobs / name
        directory.mkdir(mode=0o700, exist_ok=True)
        for file, content in files.items():
            (directory / f"{file}.json").write_text(content)

    def state(self, name: str) -> Any:
        return json.loads((self.root.jobs / name / "state.json").read_text())


@pytest.fixture
def found(root: Root, clock: Clock) -> Found:
    return Found(root)


def test_each_job_is_found_once(found: Found) -> None:
    for name in ("a", "b"):
        found.submit(name)
    assert found.look("b") == ["b"]
    assert found.look() == ["a"]
    assert found.look() == found.look("a", "b") == []


def test_names_that_no_job_has_and_that_are_gone_are_nothing(found: Found) -> None:
    assert found.look("..", "a/b", "", "gone") == []
    assert found.inbox.recheck_s is None


def test_a_job_written_by_hand_is_looked_at_again_until_it_is_complete(found: Found, clock: Clock) -> None:
    found.write("slow")
    assert found.look("slow") == []
    assert found.inbox.recheck_s is not None
    found.write("slow", state='{"state": "waiting"}')
    assert found.inbox.look([], T0) == []
    clock.now += 60
    # From now on it has time until the next look at everything.
    assert found.inbox.recheck_s is None
    found.write("slow", tasks='[{"command": "true"}]')
    assert found.look() == ["slow"]


def test_what_is_over_is_told_once(found: Found) -> None:
    found.write("over", state='{"state": "completed"}')
    assert found.look() == found.look() == []
    assert found.finished == ["over"]


def test_a_broken_file_that_does_not_change_is_refused_after_its_time(found: Found, clock: Clock) -> None:
    found.write("bad", state='{"state": ', tasks="[]")
    found.look()
    clock.now += 1.9
    found.look()
    assert not (found.root.jobs / "bad" / "state.json.refused").exists()
    clock.now += 0.2
    found.look()
    assert (found.root.jobs / "bad" / "state.json.refused").read_text() == '{"state": '
    assert found.state("bad")["state"] == "failed"
    assert "state.json: is not valid JSON" in found.state("bad")["error"]


def test_a_file_that_is_still_being_written_is_not_refused(found: Found, clock: Clock) -> None:
    found.write("slow")
    content = json.dumps({"state": "waiting", "labels": {"a": "b"}})
    for length in range(1, len(content)):
        found.write("slow", state=content[:length])
        found.look()
        clock.now += 1.5
    found.write("slow", state=content, tasks='[{"command": "true"}]')
    assert found.look() == ["slow"]
    assert not (found.root.jobs / "slow" / "state.json.refused").exists()


def test_a_refused_job_keeps_who_it_was(found: Found, clock: Clock) -> None:
    found.write("bad", state='{"id": "x", "labels": {"dag": "d"}, "options": {"announce": true}}', tasks="broken")
    for _ in range(3):
        found.look()
        clock.now += 3
    state = found.state("bad")
    assert (state["id"], state["labels"], state["options"]) == ("x", {"dag": "d"}, {"announce": True})
    assert (found.root.jobs / "bad" / "tasks.json").read_text() == "broken"


def test_a_link_is_refused_and_nothing_is_written_through_it(found: Found, clock: Clock, root: Root) -> None:
    elsewhere = root.path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    (elsewhere / "state.json").write_text("{}")
    (elsewhere / "tasks.json").write_text('[{"command": "true"}]')
    (root.jobs / "link").symlink_to(elsewhere)
    for _ in range(3):
        assert found.look() == []
        clock.now += 3
    assert (elsewhere / "state.json").read_text() == "{}"


def test_a_name_that_appears_again_is_another_job(found: Found) -> None:
    found.write("again", state='{"state": "completed"}')
    found.look()
    for path in (found.root.jobs / "again").iterdir():
        path.unlink()
    (found.root.jobs / "again").rmdir()
    found.submit("again")
    assert found.look("again") == ["again"]


def test_an_event_that_comes_late_does_not_load_a_job_twice(found: Found) -> None:
    found.submit("a")
    assert found.look() == ["a"]
    assert found.look("a") == []


def test_a_name_that_was_gone_at_a_look_is_free(found: Found) -> None:
    found.write("again", state='{"state": "completed"}')
    found.look()
    (found.root.jobs / "again").rename(found.root.path / "kept")
    found.look()
    found.submit("again")
    assert found.look() == ["again"]


def test_a_name_that_is_too_long_harms_nobody(found: Found, clock: Clock) -> None:
    found.write("x" * 220, state="{}", tasks="[]")
    found.submit("good")
    for _ in range(3):
        found.look()
        clock.now += 3
    assert found.active == {"good"}


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO])
def test_a_system_that_refuses_for_long_does_not_refuse_the_job(
    found: Found, clock: Clock, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    found.submit("good")
    before = found.state("good")

    def failing(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", failing)
        for _ in range(5):
            assert found.look() == []
            clock.now += 3
    assert found.state("good") == before
    assert found.look() == ["good"]


@pytest.mark.parametrize("name", ["logs", "results"])
def test_a_job_whose_directory_for_outputs_is_a_link_is_refused(
    found: Found, clock: Clock, root: Root, name: str
) -> None:
    elsewhere = root.path.parent / "elsewhere"
    elsewhere.mkdir()
    found.write("linked", state="{}", tasks='[{"command": "true"}]')
    (root.jobs / "linked" / name).symlink_to(elsewhere)
    for _ in range(3):
        assert found.look() == []
        clock.now += 3
    assert found.state("linked")["state"] == "failed"
    assert name in found.state("linked")["error"]
    assert list(elsewhere.iterdir()) == []
