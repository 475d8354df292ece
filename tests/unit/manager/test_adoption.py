"""What becomes of a runner that no fork server looks after, told by what is left of it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator

import pytest

from air_executor.manager.adoption import AdoptedRunner, Lost, Spools
from air_executor.manager.attempts import Attempt, attempt_id
from air_executor.manager.supervision import run_time_s
from air_executor.process.attempt_log import create_attempt_log
from air_executor.process.identity import ProcessIdentity, identify
from air_executor.process.protocol import Ended, Launch, Started
from air_executor.store.root import Root
from tests.support.jobs import job_of, launched, task
from tests.support.waiting import wait_until


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sh", "-c", "read line; exit 7"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def identity_of(child: subprocess.Popen[bytes]) -> ProcessIdentity:
    identity = identify(child.pid)
    assert identity is not None
    return identity


def adopt(root: Root, runner: ProcessIdentity) -> AdoptedRunner:
    """Adopt the runner of an attempt whose start a killed fork server has told."""
    (root.jobs / "job" / "logs").mkdir(parents=True, mode=0o700)
    job = job_of(task("a"))
    job.apply(launched("a"))
    log = root.log("job", "a", 1)
    log.touch()
    launch = Launch(attempt_id=attempt_id(job, "a", 1), log_path=str(log), command="true")
    started = Started(
        attempt_id=launch.attempt_id,
        pid=runner.pid,
        start_ticks=runner.start_ticks,
        boot_id=runner.boot_id,
        at=time.time(),
        log_path=launch.log_path,
    )
    return AdoptedRunner(Attempt(job, job.tasks["a"], 1, launch, started), Spools(root.run), ())


def test_a_runner_that_fell_to_us_is_waited_for_and_collected(root: Root, child: subprocess.Popen[bytes]) -> None:
    adopted = adopt(root, identity_of(child))
    try:
        assert adopted.check() is None
        child.stdin.write(b"\n")
        child.stdin.flush()
        fate = wait_until(adopted.check, what="its end")
        assert isinstance(fate, Ended)
        assert fate.exit_code == 7
    finally:
        adopted.close()


@pytest.mark.parametrize("other", ["start", "boot"])
def test_a_runner_whose_pid_is_that_of_another_child_now_is_lost(
    root: Root, child: subprocess.Popen[bytes], other: str
) -> None:
    identity = identity_of(child)
    if other == "start":
        runner = ProcessIdentity(identity.pid, identity.start_ticks - 1, identity.boot_id)
    else:
        runner = ProcessIdentity(identity.pid, identity.start_ticks, "another")
    child.stdin.write(b"\n")
    child.stdin.flush()
    wait_until(lambda: os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT), what="its exit")
    adopted = adopt(root, runner)
    assert adopted.pidfd is None
    assert adopted.check() == Lost(())
    assert child.wait() == 7


@pytest.mark.parametrize("workload_path", [None, "/workload"])
def test_the_time_that_a_fork_may_have_waited_for_its_launch_is_not_counted(
    root: Root, workload_path: str | None
) -> None:
    """Nobody has recorded its start: it is found by its lock and its log."""
    (root.jobs / "job" / "logs").mkdir(parents=True, mode=0o700)
    job = job_of(task("a"))
    job.apply(launched("a"))
    log = root.log("job", "a", 1)
    log_fd = create_attempt_log(str(log))
    runner = subprocess.Popen(["sleep", "600"], stdout=log_fd, start_new_session=True)
    try:
        time.sleep(0.3)
        launch = Launch(
            attempt_id=attempt_id(job, "a", 1), log_path=str(log), command="true", workload_path=workload_path
        )
        attempt = Attempt(job, job.tasks["a"], 1, launch, None)
        adopted = AdoptedRunner(attempt, Spools(root.run), ())
        assert adopted.check() is None
        started = attempt.started
        assert started is not None
        assert started.pid == runner.pid
        assert (started.waited_s >= 0.3) == (workload_path is not None)
        if workload_path is None:
            assert run_time_s(started) >= 0.3
        adopted.close()
    finally:
        os.close(log_fd)
        runner.kill()
        runner.wait()
