from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil

from air_executor.process.attempt_log import is_locked
from air_executor.process.exits import collect
from air_executor.process.protocol import Ended, NotStarted, Started
from air_executor.process.spool import spool_is_live
from air_executor.process.tree import find_processes, tree_of
from tests.integration.process.serving import Serving
from tests.support.waiting import wait_until


def test_the_target_runs_in_a_settled_fork(forking_server: Serving, tmp_path: Path) -> None:
    attempt_id = forking_server.launch("print", "hello", env={"GREETING": "world"}, cwd=str(tmp_path))
    assert forking_server.wait_for(Ended, attempt_id).exit_code == 0
    assert forking_server.log(attempt_id) == f"hello world {tmp_path}\n"


def test_its_result_is_the_exit_code(forking_server: Serving) -> None:
    assert forking_server.run("return", "7").exit_code == 7
    assert forking_server.run("nothing").exit_code == 1


def test_an_exception_is_in_the_log(forking_server: Serving) -> None:
    attempt_id = forking_server.launch("raise")
    assert forking_server.wait_for(Ended, attempt_id).exit_code == 1
    assert "RuntimeError: this task is broken" in forking_server.log(attempt_id)


def test_sys_exit_with_a_text_prints_it(forking_server: Serving) -> None:
    attempt_id = forking_server.launch("exit", "not today")
    assert forking_server.wait_for(Ended, attempt_id).exit_code == 1
    assert forking_server.log(attempt_id) == "not today\n"


def test_a_missing_directory_fails_in_the_fork(forking_server: Serving) -> None:
    attempt_id = forking_server.launch("print", cwd="/no/such/directory")
    assert forking_server.wait_for(Ended, attempt_id).exit_code == 1
    assert "/no/such/directory" in forking_server.log(attempt_id)


def test_a_fork_holds_nothing_of_the_server(forking_server: Serving) -> None:
    attempt_id = forking_server.launch("descriptors")
    forking_server.wait_for(Ended, attempt_id)
    descriptors = dict(line.split(" ", 1) for line in forking_server.log(attempt_id).splitlines())
    log_path = forking_server.log_path(attempt_id)
    assert descriptors.pop("0") == "/dev/null"
    assert set(descriptors.values()) == {log_path}
    assert len(descriptors) == 3


def test_a_fork_does_not_make_a_dead_server_look_alive(forking_server: Serving) -> None:
    attempt_id = forking_server.launch("spawn", "sleep", "600")
    started = forking_server.wait_for(Started, attempt_id)
    tree = tree_of(started)
    wait_until(
        lambda: [each.label.split()[0] for each in find_processes(tree)],
        lambda names: "sleep" in names,
        what="its child",
    )
    forking_server.kill()
    wait_until(lambda: spool_is_live(forking_server.spool_path), lambda live: not live)
    assert is_locked(started.log_path)
    os.kill(started.pid, signal.SIGTERM)
    ended = wait_until(lambda: collect(tree))
    assert ended is not None
    assert ended.signal == signal.SIGTERM
    assert [label.split()[0] for label in ended.killed] == ["sleep"]


def test_many_forks_leave_no_zombie(forking_server: Serving) -> None:
    messages = [forking_server.message("return", "0") for _ in range(100)]
    forking_server.process.channel.send(messages)
    for message in messages:
        assert forking_server.wait_for(Ended, message.attempt_id).exit_code == 0
    # One waits for the next launch.
    wait_until(
        lambda: [child.status() for child in forking_server.children()], lambda found: found == [psutil.STATUS_SLEEPING]
    )
    assert not [report for report in forking_server.reports if isinstance(report, NotStarted)]
