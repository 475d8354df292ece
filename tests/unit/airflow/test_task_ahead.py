"""The process of a task is forked before the task is there, and is what a fork of its supervisor would be."""

from __future__ import annotations

import contextvars
import gc
import io
import json
import os
import resource
import signal
import sys
import time
import types
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from airflow.sdk._shared.secrets_masker import _secrets_masker
from airflow.sdk.execution_time import supervisor, task_runner

from air_executor.airflow import compat, task_ahead
from air_executor.airflow.process_state import ProcessState, list_descriptors
from air_executor.airflow.runner import WorkloadRunner
from air_executor.airflow.supervision import Supervision
from air_executor.airflow.task_ahead import TaskAhead
from air_executor.process import subreaper
from air_executor.process.fork_runner import ForkRunner
from air_executor.process.protocol import Launch
from air_executor.process.runner import Inheritance
from tests.integration.process.serving import gone
from tests.support.waiting import wait_until
from tests.unit.airflow.conftest import make_callback, make_workload

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux only")

_PR_GET_PDEATHSIG = 2
_PR_GET_DUMPABLE = 3
_STATUS = ("Umask", "Sig", "Cap", "NoNewPrivs", "Seccomp", "Cpus_allowed")


@pytest.fixture(autouse=True)
def put_back(monkeypatch):
    """The supervisor is as it was when the test is over."""
    for name in ("start", "_monitor_subprocess", "_handle_request"):
        monkeypatch.setattr(supervisor.ActivitySubprocess, name, vars(supervisor.ActivitySubprocess)[name])


@pytest.fixture
def seen(tmp_path, monkeypatch):
    """What the process of the task sees of itself where it would wait for its supervisor's message; then it exits with 3."""
    path = tmp_path / "seen"

    def main():
        path.with_suffix(".new").write_text(json.dumps(_look()))
        path.with_suffix(".new").rename(path)
        print("lost, if nobody flushes it", file=sys.__stdout__)
        sys.exit(3)

    monkeypatch.setattr(task_runner, "main", main)
    return lambda: json.loads(wait_until(lambda: path.exists() and path.read_text()))


def _look():
    status = Path("/proc/self/status").read_text().splitlines()
    return {
        "pid": os.getpid(),
        "group": os.getpgrp(),
        "variables": {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"},
        "directory": os.getcwd(),
        "collects garbage": gc.isenabled(),
        "is secret": _secrets_masker().redact("of the warm parent"),
        "is dumpable": subreaper._load_prctl()(_PR_GET_DUMPABLE, 0),
        "status": [line for line in status if line.startswith(_STATUS)],
        "limits": [resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name.startswith("RLIMIT_")],
        "niceness": os.getpriority(os.PRIO_PROCESS, 0),
        "handlers": [str(signal.getsignal(number)) for number in sorted(signal.valid_signals())],
        "context": sorted(variable.name for variable in contextvars.copy_context()),
        "flushes each line": [sys.__stdout__.line_buffering, sys.__stderr__.line_buffering],
        # Sockets have numbers.
        "descriptors": sorted(
            (target.partition("[")[0], os.get_inheritable(number))
            for number, target in list_descriptors().items()
            if _of_tests.get(number) != target
        ),
    }


_of_tests: dict[int, str] = {}
"""What is open for whatever else is tested; each runner inherits it."""


class Server:
    """The execution API, which takes note of what a task does."""

    def __init__(self, **_):
        self.task_instances = SimpleNamespace(
            start=lambda *_: SimpleNamespace(should_retry=False, start_date=None),
            finish=lambda **_: None,
            heartbeat=lambda *_, **__: None,
        )

    def close(self):
        pass


class Runner:
    """A runner that waits, and does what Airflow does when its launch comes."""

    def __init__(self, directory, monkeypatch, before=lambda ahead: None, workload=None):
        _of_tests.clear()
        _of_tests.update(list_descriptors())
        self.directory = directory
        self._before = before
        self._workload = workload or make_workload().model_copy(update={"log_path": None})
        supervision = Supervision(prompt=True)
        supervision.install()
        self._run_workload = WorkloadRunner(supervision)
        assert self._run_workload.task_ahead.install()
        # As in a warm parent; pytest has others.
        for name, number in {"stdout": 1, "stderr": 2}.items():
            stream = io.TextIOWrapper(io.FileIO(number, "w", closefd=False))
            monkeypatch.setattr(sys, name, stream)
            monkeypatch.setattr(sys, f"__{name}__", stream)
        monkeypatch.setattr(supervisor, "Client", Server)
        # The process of the task waits for none.
        monkeypatch.setattr(supervisor.ActivitySubprocess, "send_msg", lambda *_, **__: None)
        self._runners = ForkRunner(self._run, self._get_ready)
        self.pid = self._runners.fork_ahead(())
        assert self.pid is not None
        self.process = psutil.Process(self.pid)

    def _get_ready(self, descriptor):
        gc.disable()
        return self._run_workload.get_ready(descriptor)

    def _run(self, launch):
        self._before(self._run_workload.task_ahead)
        return self._run_workload(launch)

    def waiting(self):
        """Return the pid of the task's process, once it waits."""
        child = wait_until(self.process.children)[0]
        wait_until(child.status, lambda status: status == psutil.STATUS_SLEEPING)
        return child.pid

    def launch(self, **variables):
        descriptor = os.open(self.directory / "log", os.O_RDWR | os.O_CREAT | os.O_APPEND)
        (self.directory / "workload.json").write_text(self._workload.model_dump_json())
        launch = Launch(
            attempt_id="a/1/1/1",
            log_path=str(self.directory / "log"),
            command="airflow-workload",
            cwd=str(self.directory),
            env=variables,
            workload_path=str(self.directory / "workload.json"),
        )
        assert self._runners(launch, Inheritance(descriptor)) == self.pid
        os.close(descriptor)

    def exit_code(self):
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def log(self):
        return (self.directory / "log").read_text()


@pytest.fixture
def runner(tmp_path, monkeypatch, seen):
    return Runner(tmp_path, monkeypatch)


def test_the_task_gets_the_process_that_waits(runner, seen, tmp_path):
    pid = runner.waiting()
    assert task_ahead.TITLE in " ".join(psutil.Process(pid).cmdline())
    runner.launch(GREETING="world")
    assert runner.exit_code() == 3
    facts = seen()
    assert facts["pid"] == pid
    assert facts["variables"]["GREETING"] == "world"
    assert facts["directory"] == str(tmp_path)
    assert facts["collects garbage"]


def test_it_is_what_a_fork_would_be(tmp_path, monkeypatch, seen):
    _secrets_masker().add_mask("of the warm parent")
    monkeypatch.setenv("PYTHONUNBUFFERED", "")
    kinds = {}
    for kind, before in {"ahead": lambda _: None, "forked": lambda ahead: ahead.end()}.items():
        for name in ("seen", "log"):
            (tmp_path / name).unlink(missing_ok=True)
        runner = Runner(tmp_path, monkeypatch, before)
        waited = runner.waiting()
        runner.launch(GREETING="world")
        assert runner.exit_code() == 3
        facts = seen()
        assert (facts["pid"] == waited) is (kind == "ahead")
        # 3.1 and 3.2 leave it in that of the runner.
        facts["group"] = {facts.pop("pid"): "its own", runner.pid: "the runner's"}[facts["group"]]
        assert "lost, if nobody flushes it" in runner.log()
        kinds[kind] = facts
    assert kinds["ahead"] == kinds["forked"]
    assert kinds["ahead"]["is secret"] == "of the warm parent"
    assert kinds["ahead"]["flushes each line"] == [True, True]
    assert [str(tmp_path / "log"), False] in kinds["ahead"]["descriptors"]


def test_killed_while_it_waits_it_costs_the_task_nothing(runner, seen):
    pid = runner.waiting()
    os.kill(pid, signal.SIGKILL)
    wait_until(gone(pid))
    runner.launch()
    assert runner.exit_code() == 3
    assert seen()["pid"] != pid


def test_stopped_while_it_waits_it_does_not_hold_the_task_up(runner, seen):
    pid = runner.waiting()
    os.kill(pid, signal.SIGSTOP)
    wait_until(psutil.Process(pid).status, lambda status: status == psutil.STATUS_STOPPED)
    runner.launch()
    assert runner.exit_code() == 3
    assert seen()["pid"] != pid
    assert gone(pid)()


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
    assert "variables" in seen()
    assert runner.process.children() == [] if runner.process.is_running() else True


def test_where_it_cannot_take_what_it_is_passed_the_supervisor_forks(runner, seen):
    pid = runner.waiting()
    # Too few for the sockets of a supervisor.
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (16, 16))
    runner.launch()
    assert runner.exit_code() == 3
    assert seen()["pid"] != pid
    assert gone(pid)()


def test_where_nothing_can_be_forked_ahead_the_supervisor_forks(tmp_path, monkeypatch, seen):
    def refuse(_):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(task_ahead, "fork_connected", refuse)
    runner = Runner(tmp_path, monkeypatch)
    runner.launch()
    assert runner.exit_code() == 3
    assert "variables" in seen()


@pytest.mark.parametrize("is_stopped", [False, True])
def test_it_goes_with_a_runner_that_is_killed(runner, is_stopped):
    pid = runner.waiting()
    if is_stopped:
        # It does not hear that nothing will come.
        os.kill(pid, signal.SIGSTOP)
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


def test_a_workload_without_task_has_no_process_beside_it(tmp_path, monkeypatch):
    def look(*_, **__):
        with suppress(ChildProcessError):
            os.waitpid(-1, 0)
        (tmp_path / "children").write_text(str(len(psutil.Process().children())))
        return 0

    monkeypatch.setattr(compat, "run_workload", look)
    runner = Runner(tmp_path, monkeypatch, workload=make_callback())
    pid = runner.waiting()
    runner.launch()
    assert runner.exit_code() == 0
    assert (tmp_path / "children").read_text() == "0"
    assert gone(pid)()


def test_a_launch_that_is_refused_leaves_none(tmp_path, monkeypatch):
    runner = Runner(tmp_path, monkeypatch, workload=SimpleNamespace(model_dump_json=lambda: "{}"))
    pid = runner.waiting()
    runner.launch()
    assert runner.exit_code() != 0
    assert "is not valid" in runner.log()
    assert gone(pid)()


def test_whoever_has_reaped_it_has_it_ended(tmp_path, monkeypatch):
    def reap(_):
        os.kill(psutil.Process().children()[0].pid, signal.SIGKILL)
        os.waitpid(-1, 0)

    monkeypatch.setattr(compat, "run_workload", lambda *_, **__: 0)
    runner = Runner(tmp_path, monkeypatch, reap, workload=make_callback())
    runner.waiting()
    runner.launch()
    assert runner.exit_code() == 0
    assert runner.log() == ""


def test_a_task_outlives_its_supervisor_as_ever(tmp_path, monkeypatch):
    def main():
        (tmp_path / "death signal").write_text(str(_get_death_signal()))
        time.sleep(600)

    monkeypatch.setattr(task_runner, "main", main)
    runner = Runner(tmp_path, monkeypatch)
    pid = runner.waiting()
    runner.launch()
    wait_until(lambda: (path := tmp_path / "death signal").exists() and path.read_text(), lambda text: text == "0")
    os.kill(runner.pid, signal.SIGKILL)
    runner.exit_code()
    assert not gone(pid)()
    os.kill(pid, signal.SIGKILL)


def _get_death_signal():
    import ctypes

    number = ctypes.c_int()
    assert ctypes.CDLL(None).prctl(_PR_GET_PDEATHSIG, ctypes.byref(number), 0, 0, 0) == 0
    return number.value


def test_its_rehearsal_leaves_nothing():
    def look():
        gc.collect()
        state = ProcessState.take()
        return state.descriptors, state.shared, state.variables, supervisor.socketpair, psutil.Process().children()

    before = look()
    assert TaskAhead(gc.enable).install()
    assert look() == before


def _start_nothing(*_, **__):
    return None


def _copy_with_own_names(function):
    """Return the function as if it were in another module, with a `socketpair` of its own."""
    return types.FunctionType(
        function.__code__, dict(function.__globals__), "start", function.__defaults__, function.__closure__
    )


@pytest.mark.filterwarnings(
    "ignore:.*socket:pytest.PytestUnraisableExceptionWarning", "ignore:unclosed:ResourceWarning"
)
@pytest.mark.parametrize("is_elsewhere", [False, True])
def test_an_airflow_that_starts_tasks_otherwise_is_left_alone(monkeypatch, is_elsewhere):
    original = vars(supervisor.WatchedSubprocess)["start"].__func__
    start = _copy_with_own_names(original) if is_elsewhere else _start_nothing
    if is_elsewhere:
        start.__kwdefaults__ = original.__kwdefaults__
    monkeypatch.setattr(supervisor.WatchedSubprocess, "start", classmethod(start))
    of_tasks = vars(supervisor.ActivitySubprocess)["start"]
    descriptors = os.listdir("/proc/self/fd")
    ahead = TaskAhead(gc.enable)
    assert not ahead.install()
    gc.collect()
    assert os.listdir("/proc/self/fd") == descriptors
    assert vars(supervisor.ActivitySubprocess)["start"] is of_tasks
    reader, writer = os.pipe()
    children = psutil.Process().children()
    ahead.fork(reader)
    assert psutil.Process().children() == children
    for descriptor in (reader, writer):
        os.close(descriptor)
