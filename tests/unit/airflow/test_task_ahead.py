"""The process of a task is forked before the task is there, and is what a fork of its supervisor would be."""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import time
from contextlib import suppress
from types import SimpleNamespace

import psutil
import pytest
from airflow.sdk._shared.secrets_masker import _secrets_masker
from airflow.sdk.execution_time import supervisor, task_runner

from air_executor.airflow import compat, task_ahead
from air_executor.airflow.process_state import ProcessState
from air_executor.airflow.task_ahead import TaskAhead
from air_executor.process import subreaper
from air_executor.process.fork_runner import ForkRunner
from air_executor.process.protocol import Launch
from air_executor.process.runner import Inheritance
from tests.integration.process.serving import gone
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux only")

_PR_GET_DUMPABLE = 3
ID = "01900000-0000-7000-8000-000000000000"


@pytest.fixture(autouse=True)
def put_back(monkeypatch):
    """The supervisor is as it was when the test is over."""
    monkeypatch.setattr(supervisor.ActivitySubprocess, "start", vars(supervisor.ActivitySubprocess)["start"])


@pytest.fixture
def seen(tmp_path, monkeypatch):
    """What the process of the task saw of itself, from the moment when it would wait for its supervisor's message."""
    path = tmp_path / "seen"

    def main():
        print("hello")
        facts = {
            "pid": os.getpid(),
            "group": os.getpgrp(),
            "GREETING": os.environ.get("GREETING"),
            "directory": os.getcwd(),
            "collects garbage": gc.isenabled(),
            "signals blocked": len(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
            "is secret": _secrets_masker().redact("of the warm parent"),
            "is dumpable": subreaper._load_prctl()(_PR_GET_DUMPABLE, 0),
            "descriptors": {name: _read_link(name) for name in os.listdir("/proc/self/fd")},
        }
        path.with_suffix(".new").write_text(json.dumps(facts))
        path.with_suffix(".new").rename(path)
        while os.getppid() > 1 and not path.with_name("may end").exists():
            time.sleep(0.01)
        sys.exit(3)

    monkeypatch.setattr(task_runner, "main", main)
    return lambda: json.loads(wait_until(lambda: path.exists() and path.read_text()))


def _read_link(name):
    with suppress(OSError):
        return os.readlink(f"/proc/self/fd/{name}")


class Server:
    """The execution API, which has taken note that the task runs."""

    def __init__(self):
        self.task_instances = SimpleNamespace(
            start=lambda *_: SimpleNamespace(should_retry=False, start_date=None), finish=lambda **_: None
        )


class Runner:
    """A runner that waits, and does what Airflow does when its launch comes."""

    def __init__(self, directory, monkeypatch, before=lambda ahead: None):
        self.directory = directory
        self._before = before
        self._ahead = TaskAhead(gc.enable)
        assert self._ahead.install()
        # A message of this kind can be made of nothing.
        monkeypatch.setattr(supervisor.ActivitySubprocess, "send_msg", lambda *_, **__: None)
        self._runners = ForkRunner(self._run, self._get_ready)
        self.pid = self._runners.fork_ahead(())
        assert self.pid is not None
        self.process = psutil.Process(self.pid)

    def _get_ready(self, descriptor):
        gc.disable()
        self._ahead.fork(descriptor)
        return self._ahead.end

    def waiting(self):
        """Return the pid of the task's process, once it waits."""
        child = wait_until(self.process.children)[0]
        wait_until(child.status, lambda status: status == psutil.STATUS_SLEEPING)
        return child.pid

    def launch(self, **variables):
        descriptor = os.open(self.directory / "log", os.O_RDWR | os.O_CREAT)
        launch = Launch(
            attempt_id="a/1/1/1",
            log_path=str(self.directory / "log"),
            command="airflow-workload",
            cwd=str(self.directory),
            env=variables,
        )
        assert self._runners(launch, Inheritance(descriptor)) == self.pid
        os.close(descriptor)

    def _run(self, launch):
        gc.enable()
        self._before(self._ahead)
        compat.seclude_task()
        supervised = supervisor.ActivitySubprocess.start(
            what=SimpleNamespace(id=ID), dag_rel_path="x", bundle_info=None, client=Server()
        )
        (self.directory / "started").write_text(str(supervised.pid))
        (self.directory / "may end").touch()
        return supervised._process.wait(timeout=20)

    def started(self):
        return int(wait_until(lambda: (path := self.directory / "started").exists() and path.read_text()))

    def exit_code(self):
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def log(self):
        return (self.directory / "log").read_text()


@pytest.fixture
def runner(tmp_path, monkeypatch, seen):
    return Runner(tmp_path, monkeypatch)


def test_the_task_gets_the_process_that_waits(runner, seen, tmp_path):
    pid = runner.waiting()
    runner.launch(GREETING="world")
    facts = seen()
    assert runner.exit_code() == 3
    assert runner.started() == facts["pid"] == pid
    assert facts["GREETING"] == "world"
    assert facts["directory"] == str(tmp_path)
    assert facts["collects garbage"]
    assert facts["signals blocked"] == 0
    assert runner.log() == ""


def test_it_is_what_a_fork_would_be(tmp_path, monkeypatch, seen):
    _secrets_masker().add_mask("of the warm parent")
    kinds = {}
    for kind, before in {"ahead": lambda _: None, "forked": lambda ahead: ahead.end()}.items():
        for name in ("seen", "may end", "log"):
            (tmp_path / name).unlink(missing_ok=True)
        runner = Runner(tmp_path, monkeypatch, before)
        waited = runner.waiting()
        runner.launch(GREETING="world")
        assert runner.exit_code() == 3
        facts = seen()
        assert (facts["pid"] == waited) is (kind == "ahead")
        # Its own one, or that of the runner: 3.1 and 3.2 leave it there.
        facts["group"] = {facts.pop("pid"): "its own", runner.pid: "the runner's"}[facts["group"]]
        # Sockets have numbers.
        facts["descriptors"] = sorted(str(target).partition("[")[0] for target in facts["descriptors"].values())
        kinds[kind] = facts
    assert kinds["ahead"] == kinds["forked"]
    assert kinds["ahead"]["is secret"] == "of the warm parent"
    assert str(tmp_path / "log") in kinds["ahead"]["descriptors"]


def test_killed_while_it_waits_it_costs_the_task_nothing(runner, seen):
    pid = runner.waiting()
    os.kill(pid, signal.SIGKILL)
    wait_until(gone(pid))
    runner.launch()
    assert runner.exit_code() == 3
    assert runner.started() == seen()["pid"] != pid


def test_stopped_while_it_waits_it_does_not_hold_the_task_up(runner, seen):
    pid = runner.waiting()
    os.kill(pid, signal.SIGSTOP)
    wait_until(psutil.Process(pid).status, lambda status: status == psutil.STATUS_STOPPED)
    runner.launch()
    assert runner.exit_code() == 3
    assert runner.started() == seen()["pid"] != pid
    wait_until(gone(pid))


@pytest.mark.parametrize("what", ["wait", "end", "fail"])
def test_where_it_does_not_come_to_the_fork_the_supervisor_forks(tmp_path, monkeypatch, seen, what):
    def break_off(*_):
        if what == "fail":
            raise RuntimeError("this Airflow starts tasks in another way")
        while what == "wait":
            time.sleep(1)
        os._exit(0)

    monkeypatch.setattr(task_ahead, "_PATIENCE_S", 0.1)
    monkeypatch.setattr(task_ahead, "_wait_for_task", break_off)
    runner = Runner(tmp_path, monkeypatch)
    runner.launch()
    assert runner.exit_code() == 3
    assert runner.started() == seen()["pid"]


def test_where_nothing_can_be_forked_ahead_the_supervisor_forks(tmp_path, monkeypatch, seen):
    def refuse(_):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(task_ahead, "fork_connected", refuse)
    runner = Runner(tmp_path, monkeypatch)
    runner.launch()
    assert runner.exit_code() == 3
    assert seen()["pid"] == runner.started()


def test_it_goes_with_a_runner_that_is_killed(runner):
    pid = runner.waiting()
    os.kill(runner.pid, signal.SIGKILL)
    wait_until(gone(pid))
    runner._runners.dismiss()
    runner.exit_code()


def test_it_goes_with_a_runner_that_is_dismissed(runner):
    pid = runner.waiting()
    runner._runners.dismiss()
    # At once: its cgroup is removed next.
    assert gone(pid)()
    runner.exit_code()


def test_it_goes_with_a_runner_that_has_something_else_to_do(tmp_path, monkeypatch):
    runner = Runner(tmp_path, monkeypatch)
    pid = runner.waiting()
    monkeypatch.setattr(Runner, "_run", lambda *_: 0)
    runner._runners._waiting.end()
    runner.exit_code()
    wait_until(gone(pid))


def test_a_task_outlives_its_supervisor_as_ever(tmp_path, monkeypatch):
    def main():
        (tmp_path / "pid").write_text(str(os.getpid()))
        time.sleep(600)

    monkeypatch.setattr(task_runner, "main", main)
    runner = Runner(tmp_path, monkeypatch)
    pid = runner.waiting()
    runner.launch()
    runner.started()
    wait_until((tmp_path / "pid").exists)
    os.kill(runner.pid, signal.SIGKILL)
    runner.exit_code()
    time.sleep(0.1)
    assert not gone(pid)()
    os.kill(pid, signal.SIGKILL)


def test_its_rehearsal_leaves_nothing():
    def look():
        gc.collect()
        state = ProcessState.take()
        return state.descriptors, state.shared, state.variables, supervisor.socketpair, psutil.Process().children()

    before = look()
    assert TaskAhead(gc.enable).install()
    assert look() == before


def test_an_airflow_that_starts_tasks_otherwise_is_left_alone(monkeypatch):
    monkeypatch.setattr(supervisor.WatchedSubprocess, "start", classmethod(lambda *_, **__: None))
    start = vars(supervisor.ActivitySubprocess)["start"]
    ahead = TaskAhead(gc.enable)
    with suppress(AttributeError):
        assert not ahead.install()
    assert vars(supervisor.ActivitySubprocess)["start"] is start
    reader, writer = os.pipe()
    children = psutil.Process().children()
    ahead.fork(reader)
    assert psutil.Process().children() == children
    for descriptor in (reader, writer):
        os.close(descriptor)
