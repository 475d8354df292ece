"""What accidents do to the root itself under a live manager: it goes on, and so does everything else."""

from __future__ import annotations

import json
import os
import signal
import sys

import pytest

from tests.support.jobs import task
from tests.support.manager import ManagedRoot, remove_tree
from tests.support.waiting import wait_until


def put_in_requests(managed: ManagedRoot, kind: str) -> str:
    """Put something into requests/ that is no request, and return its name."""
    name = {"long name": "9" * 245, "longest name": "9" * 250}.get(kind, "0-strange") + ".json"
    path = managed.root.requests / name
    if kind == "directory":
        path.mkdir()
    elif kind == "full directory":
        path.mkdir()
        (path / "mine").write_text("mine")
    elif kind == "link":
        path.symlink_to("/etc/hostname")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.write_text('{"request": "close", "job": "nobody"}')
        if kind == "unreadable":
            path.chmod(0)
    return name


@pytest.mark.parametrize(
    "kind", ["directory", "full directory", "link", "pipe", "long name", "longest name", "unreadable"]
)
def test_what_is_no_request_harms_nobody(managed: ManagedRoot, kind: str) -> None:
    managed.start()
    managed.submit("open", task("a"), is_open=True)
    managed.wait_for("open", "working")
    name = put_in_requests(managed, kind)

    def complaints() -> int:
        return sum(name in line or "nobody" in line for line in managed.log().splitlines())

    # Each of these has requests/ looked at.
    for number in range(3):
        managed.client.queue("open", [task(f"b{number}")])
    before = wait_until(complaints, what="a complaint")
    for number in range(5):
        managed.client.queue("open", [task(f"c{number}")])
    managed.client.close("open")
    assert managed.wait_for("open")["state"] == "completed"
    assert len(managed.tasks("open")) == 9
    assert complaints() == before
    if kind == "full directory":
        assert [path.name for path in managed.root.path.rglob("mine")] == ["mine"]
    managed.stop()
    managed.start()
    managed.submit("next", task("a"))
    assert managed.wait_for("next")["state"] == "completed"


@pytest.mark.parametrize("name", ["jobs", "requests", "tmp", "ended", "run", "archive", "environments"])
def test_a_directory_of_the_root_that_is_removed_comes_back(managed: ManagedRoot, name: str) -> None:
    managed.start()
    managed.submit("before", task("a"))
    assert managed.wait_for("before")["state"] == "completed"
    managed.submit("running", managed.ledger_task("a", script="sleep 1000"))
    managed.wait_for_line("start")
    path = managed.root.path / name
    remove_tree(path)
    wait_until(path.is_dir, what=f"{name}/")
    assert path.stat().st_mode & 0o777 == 0o700
    assert managed.process.poll() is None
    managed.submit("after", task("a"), announce=True, is_open=True)
    managed.wait_for("after", "working")
    managed.client.queue("after", [task("b", "a")])
    managed.client.close("after")
    assert managed.wait_for("after")["state"] == "completed"
    wait_until(managed.client.ended_names, lambda names: names == ["after"], what="the announcement")
    if name != "jobs":
        managed.client.cancel("running")
        assert managed.wait_for("running")["state"] == "cancelled"
    wait_until(managed.task_processes, lambda left: not left, what="no process of a task")
    managed.stop()
    managed.start()
    managed.submit("again", task("a"))
    assert managed.wait_for("again")["state"] == "completed"


def test_what_was_left_of_a_job_that_was_removed_holds_no_fork_server(managed: ManagedRoot) -> None:
    managed.start(fork_server_idle=0.1)
    managed.submit("gone", *(managed.ledger_task(f"t{n}", script="sleep 1000") for n in range(3)))
    wait_until(lambda: len(managed.lines()), lambda count: count == 3, what="three tasks that run")
    remove_tree(managed.root.job("gone"))
    wait_until(managed.task_processes, lambda left: not left, what="no process of the removed job")
    wait_until(managed.fork_servers, lambda left: not left, what="no fork server")
    wait_until(lambda: list(managed.root.run.glob("*.jsonl")), lambda left: not left, timeout_s=60, what="no spool")
    managed.submit("next", task("a"))
    assert managed.wait_for("next")["state"] == "completed"


def test_files_that_cannot_be_removed_end_no_manager(managed: ManagedRoot) -> None:
    # Left by an earlier manager: a spool, a view in the making, a refusal, a request.
    left = [
        managed.root.run / "command-000000000000.jsonl",
        managed.root.tmp / "old.tasks.0123456789ab",
        managed.root.tmp / "old.0123456789ab",
        managed.root.requests / "1.refused",
    ]
    for path in left:
        path.write_text("")
        os.utime(path, (1, 1))
    (managed.root.requests / "0-kept.json").write_text('{"request": "close", "job": "nobody"}')
    managed.start(wrapper=("-m", "tests.integration.manager.without_removal"))
    (managed.root.requests / "1-kept.json").write_text("{")
    managed.submit("good", task("a"), is_open=True)
    managed.wait_for("good", "working")
    managed.client.queue("good", [task("b", "a")])
    managed.client.close("good")
    assert managed.wait_for("good")["state"] == "completed"
    managed.process.send_signal(signal.SIGHUP)
    wait_until(managed.log, lambda log: "settings read again" in log, what="a manager that lives")
    assert all(path.exists() for path in left)


def test_environments_that_nobody_uses_any_more_are_removed_when_they_are_old(managed: ManagedRoot) -> None:
    used, unused, young = (
        managed.client.save_environment(sys.executable, {**os.environ, "NUMBER": str(number)}, "/")
        for number in range(3)
    )
    for digest in (used, unused):
        os.utime(managed.root.environments / f"{digest}.json", (1, 1))
    managed.submit("user", managed.ledger_task("a", script="sleep 1000"), environment=used)
    managed.start()
    managed.wait_for_line("start")
    path = managed.root.environments / f"{unused}.json"
    wait_until(lambda: not path.exists(), timeout_s=90, what="the removal of the old environment")
    assert sorted(each.stem for each in managed.root.environments.iterdir()) == sorted([used, young])
    managed.submit("next", task("a"), environment=used)
    assert managed.wait_for("next")["state"] == "completed"
    assert managed.client.save_environment(sys.executable, {**os.environ, "NUMBER": "1"}, "/") == unused
    managed.submit("new", task("a"), environment=unused)
    assert managed.wait_for("new")["state"] == "completed"
    managed.client.cancel("user")
    managed.wait_for("user")


@pytest.mark.parametrize("request_", ["close", "cancel", "retry"])
def test_a_request_that_was_carried_out_and_cannot_be_removed_keeps_nobody_waiting(
    managed: ManagedRoot, request_: str
) -> None:
    managed.start(wrapper=("-m", "tests.integration.manager.without_removal"))
    fails = managed.ledger_task("a", script="false" if request_ == "retry" else ":")
    managed.submit("asked", fails, is_open=request_ != "retry")
    managed.wait_for_task("asked", "a", lambda seen: seen["status"] in ("completed", "failed"), "its end")
    if request_ == "retry":
        managed.wait_for("asked", "failed")
    path = managed.root.requests / "0-kept.json"
    path.with_suffix(".new").write_text(json.dumps({"request": request_, "job": "asked"}))
    path.with_suffix(".new").rename(path)
    managed.submit("neighbour", task("a"), is_open=True)
    managed.wait_for("neighbour", "working")
    managed.client.queue("neighbour", [task("b", "a")])
    managed.client.close("neighbour")
    assert managed.wait_for("neighbour")["state"] == "completed"
    ends = {"close": "completed", "cancel": "cancelled", "retry": "failed"}
    assert managed.wait_for("asked")["state"] == ends[request_]
    # It is carried out once, however often it is found.
    for number in range(5):
        managed.submit(f"later-{number}", task("a"))
        assert managed.wait_for(f"later-{number}")["state"] == "completed"
    assert managed.task("asked")["attempt"] == (2 if request_ == "retry" else 1)
    assert path.exists()
