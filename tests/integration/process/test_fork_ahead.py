"""A runner that is forked before its launch comes, and waits for it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from air_executor.process.attempt_log import is_locked
from air_executor.process.cgroup import own_cgroup_directory
from air_executor.process.protocol import Ended, Started
from tests.integration.process.conftest import HAS_CGROUPS
from tests.integration.process.serving import Serving, gone
from tests.integration.process.test_templates import file as file
from tests.integration.process.test_templates import look, prepared_by
from tests.integration.process.test_templates import serving as serving
from tests.integration.process.test_templates import start_templates as start_templates
from tests.support.waiting import wait_until


def waiting(parent: Serving | psutil.Process, beside: int | None = None) -> int:
    """Return the pid of the one child that a parent has beside a runner, or without work."""

    def list_pids() -> list[int]:
        return [child.pid for child in parent.children() if child.pid != beside]

    return wait_until(list_pids, lambda pids: len(pids) == 1)[0]


def have_one_wait(server: Serving) -> int:
    """Return the pid of the runner that waits after a first launch."""
    server.run("return", "0")
    return waiting(server)


def start_in_waiting(server: Serving) -> Started:
    """Have the one that waits run something long."""
    pid = have_one_wait(server)
    started = server.wait_for(Started, server.launch("spawn", "sleep", "600"))
    assert started.pid == pid
    return started


def test_nobody_waits_before_there_was_a_launch(forking_server: Serving) -> None:
    assert forking_server.children() == []


def test_the_next_launch_is_run_by_the_one_that_waits(forking_server: Serving, tmp_path: Path) -> None:
    assert forking_server.run("return", "3").exit_code == 3
    pid = waiting(forking_server)
    # The kernel tells when a process has started in hundredths of a second.
    time.sleep(0.1)
    attempt_id = forking_server.launch("print", "hello", env={"GREETING": "world"}, cwd=str(tmp_path))
    assert forking_server.wait_for(Ended, attempt_id).exit_code == 0
    assert forking_server.log(attempt_id) == f"hello world {tmp_path}\n"
    started = forking_server.wait_for(Started, attempt_id)
    assert started.pid == pid
    assert started.waited_s >= 0.1
    assert waiting(forking_server) != pid


def test_it_gets_a_launch_of_any_size(forking_server: Serving) -> None:
    pid = have_one_wait(forking_server)
    text = "x" * 2_000_000
    attempt_id = forking_server.launch("print", text)
    assert forking_server.wait_for(Ended, attempt_id).exit_code == 0
    assert forking_server.log(attempt_id).startswith(f"{text} ")
    assert forking_server.wait_for(Started, attempt_id).pid == pid


def test_it_holds_nothing_of_the_server(forking_server: Serving) -> None:
    pid = have_one_wait(forking_server)
    attempt_id = forking_server.launch("descriptors")
    forking_server.wait_for(Ended, attempt_id)
    assert forking_server.wait_for(Started, attempt_id).pid == pid
    descriptors = dict(line.split(" ", 1) for line in forking_server.log(attempt_id).splitlines())
    assert descriptors.pop("0") == "/dev/null"
    assert list(descriptors.values()) == [forking_server.log_path(attempt_id)] * 3


def test_it_is_born_in_the_cgroup_of_its_attempt(forking_server: Serving) -> None:
    started = start_in_waiting(forking_server)
    next_pid = waiting(forking_server, beside=started.pid)
    if started.cgroup is not None:
        inside = Path(started.cgroup, "cgroup.procs").read_text().split()
        assert str(started.pid) in inside
        assert str(next_pid) not in inside
    os.kill(started.pid, signal.SIGTERM)
    assert forking_server.wait_for(Ended, started.attempt_id).signal == signal.SIGTERM


def test_killed_while_it_waits_it_takes_no_launch_with_it(forking_server: Serving) -> None:
    forking_server.run("return", "0")
    for _ in range(20):
        pid = waiting(forking_server)
        os.kill(pid, signal.SIGKILL)
        # As soon as it is dead: the server may not have noticed.
        wait_until(gone(pid), interval_s=0)
        assert forking_server.run("return", "3").exit_code == 3


def test_stopped_while_it_waits_it_does_not_hold_up_the_server(forking_server: Serving) -> None:
    pid = have_one_wait(forking_server)
    os.kill(pid, signal.SIGSTOP)
    stopped = forking_server.launch("return", "3")
    assert forking_server.run("return", "4").exit_code == 4
    os.kill(pid, signal.SIGCONT)
    assert forking_server.wait_for(Ended, stopped).exit_code == 3


@pytest.mark.parametrize("size", [100_000, 2_000_000])
def test_a_launch_that_a_stopped_one_has_not_begun_runs_once(
    forking_server: Serving, tmp_path: Path, size: int
) -> None:
    pid = have_one_wait(forking_server)
    os.kill(pid, signal.SIGSTOP)
    attempt_id = forking_server.launch("run once", str(tmp_path / "runs"), "x" * size)
    assert forking_server.run("return", "4").exit_code == 4
    if size > 1_000_000:
        # It has not had all of it, so another runs it.
        wait_until(gone(pid))
    else:
        os.kill(pid, signal.SIGCONT)
    ended = forking_server.wait_for(Ended, attempt_id)
    assert ended.exit_code == 5
    assert not ended.killed
    assert (tmp_path / "runs").read_text() == "ran\n"
    assert not is_locked(forking_server.log_path(attempt_id))


def test_it_goes_with_a_server_that_is_killed(forking_server: Serving) -> None:
    pid = have_one_wait(forking_server)
    forking_server.kill()
    wait_until(gone(pid))


@pytest.mark.parametrize("is_stopped", [False, True])
def test_it_goes_with_a_server_that_is_retired(forking_server: Serving, is_stopped: bool) -> None:
    pid = have_one_wait(forking_server)
    if is_stopped:
        os.kill(pid, signal.SIGSTOP)
    forking_server.process.channel.finish_sending()
    assert forking_server.wait_gone() == 0
    wait_until(gone(pid))
    if HAS_CGROUPS:
        assert not list(Path(str(own_cgroup_directory())).glob(f"air-executor-{forking_server.pid}-*"))


def test_it_goes_when_no_launch_can_come_any_more(forking_server: Serving) -> None:
    started = start_in_waiting(forking_server)
    next_pid = waiting(forking_server, beside=started.pid)
    forking_server.process.channel.finish_sending()
    wait_until(gone(next_pid))
    os.kill(started.pid, signal.SIGTERM)
    assert forking_server.wait_for(Ended, started.attempt_id).signal == signal.SIGTERM


def test_a_template_has_one_wait_as_well(serving: Serving, file: Path) -> None:
    look(serving, file)
    template = psutil.Process(prepared_by(file)[0])
    pid = waiting(template)
    attempt_id = serving.launch("prepared", env={"TEMPLATE": str(file)})
    assert serving.wait_for(Ended, attempt_id).exit_code == 0
    assert serving.log(attempt_id).split()[0] == "hello"
    assert serving.wait_for(Started, attempt_id).pid == pid
    next_pid = waiting(template)
    template.kill()
    wait_until(gone(next_pid))


def test_nobody_waits_where_a_template_is_prepared(serving: Serving, file: Path) -> None:
    pid = have_one_wait(serving)
    look(serving, file)
    # It would have been born in the cgroup of the template, and ended with it.
    wait_until(gone(pid))
    attempt_id = serving.launch("spawn", "sleep", "600")
    started = serving.wait_for(Started, attempt_id)
    os.kill(prepared_by(file)[0], signal.SIGKILL)
    wait_until(gone(prepared_by(file)[0]))
    os.kill(started.pid, signal.SIGTERM)
    assert serving.wait_for(Ended, attempt_id).signal == signal.SIGTERM


def test_killed_in_a_template_it_takes_no_launch_with_it(serving: Serving, file: Path) -> None:
    look(serving, file)
    template = psutil.Process(prepared_by(file)[0])
    for _ in range(5):
        pid = waiting(template)
        os.kill(pid, signal.SIGKILL)
        wait_until(gone(pid), interval_s=0)
        assert look(serving, file)[0] == "hello"
    assert len(prepared_by(file)) == 1
