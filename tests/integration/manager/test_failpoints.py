"""The manager, or its fork server, killed at each step between the submission of a job and the announcement of its end."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from air_executor.core.events import TaskEnded
from air_executor.store.journal import replay
from air_executor.store.requests import RetryTasks, await_reply, send_request
from tests.support.failpoints import VARIABLE, Failpoint
from tests.support.manager import ManagedRoot
from tests.support.waiting import wait_until

MANAGER_STEPS = [
    ("air_executor.manager.inbox", "load_job", 1),
    ("air_executor.manager.board", "Board.add", 1),
    ("air_executor.manager.supervision", "Supervision.start", 1),
    ("air_executor.store.journal", "write_all", 1),
    ("air_executor.store.journal", "Journal.flush", 1),
    ("air_executor.store.journal", "Journal.flush", 2),
    ("air_executor.store.journal", "Journal.flush", 4),
    ("air_executor.manager.launcher", "spawn_fork_server", 1),
    ("air_executor.process.channel", "Channel.send", 1),
    ("air_executor.manager.launcher", "LocalLauncher.launch", 1),
    ("air_executor.manager.launcher", "LocalLauncher.receive", 1),
    ("air_executor.manager.launcher", "LocalLauncher.receive", 2),
    ("air_executor.manager.launcher", "LocalLauncher.receive", 3),
    ("air_executor.manager.supervision", "Supervision._note_started", 1),
    ("air_executor.manager.supervision", "Supervision._record_fate", 1),
    ("air_executor.store.views", "create_file", 1),
    ("air_executor.store.views", "create_file", 2),
    ("air_executor.store.views", "exchange", 1),
    ("air_executor.store.views", "exchange", 2),
    ("air_executor.manager.job_run", "write_views", 1),
    ("air_executor.manager.job_run", "write_views", 2),
    ("air_executor.manager.board", "Board.publish", 3),
    ("air_executor.manager.job_run", "mark_ended", 1),
]
SERVER_STEPS = [
    ("air_executor.process.channel", "Channel.send", 1),
    ("air_executor.process.channel", "Channel.receive", 1),
    ("air_executor.process.channel", "Channel.receive", 2),
    ("air_executor.process.attempts", "create_attempt_log", 1),
    ("air_executor.process.runner", "CommandRunner._spawn", 1),
    ("air_executor.process.attempts", "identify_child", 1),
    ("air_executor.process.spool", "Spool.append", 1),
    ("air_executor.process.spool", "Spool.append", 2),
    ("air_executor.process.reaper", "Reaper.watch", 1),
    ("air_executor.process.reaper", "describe_exit", 1),
    ("air_executor.process.reaper", "Reaper._finish", 1),
    ("air_executor.process.channel", "Channel.send", 2),
    ("air_executor.process.channel", "Channel.send", 3),
]
AT_ONCE = 4


def failpoints(process: str, steps: list[tuple[str, str, int]], directory: Path) -> list[Failpoint]:
    return [
        Failpoint(process, module, name, moment, call, str(directory / f"{process}-{number}-{moment}.fired"))
        for number, (module, name, call) in enumerate(steps)
        for moment in ("before", "after")
    ]


class Run:
    """One job under a manager that kills itself, or whose fork server does, and under the managers that follow."""

    def __init__(self, failpoint: Failpoint, directory: Path) -> None:
        self.failpoint = failpoint
        self.managed = ManagedRoot(directory / Path(failpoint.fired).stem / "root")

    def run(self) -> None:
        """Run it, and see what became of the job."""
        managed = self.managed
        script = "sleep 0.05"
        managed.submit(
            "job",
            managed.ledger_task("a", script=script, retries=1),
            managed.ledger_task("b", "a", retries=1),
            announce=True,
        )
        try:
            first = managed.spawn(
                wrapper=("-m", "tests.support.failpoints"), env={VARIABLE: msgspec.json.encode(self.failpoint).decode()}
            )
            wait_until(
                lambda: first.poll() is not None or managed.client.ended_names() == ["job"],
                what=f"{self.failpoint}: the kill or the end; {managed.log()[-1000:]}",
            )
            if self.failpoint.process == "manager":
                # Killed after the very last step, it has announced the end already.
                wait_until(lambda: first.poll() is not None, what=f"{self.failpoint}: a killed manager")
                managed.start()
            wait_until(
                managed.client.ended_names, lambda names: names == ["job"], what=f"{self.failpoint}: the announcement"
            )
            self.check()
        finally:
            managed.clean_up()

    def check(self) -> None:
        """See that what is recorded is true."""
        managed, name = self.managed, str(self.failpoint)
        assert Path(self.failpoint.fired).exists(), f"{name}: this step was never reached"
        assert managed.state("job")["state"] == "completed", (name, managed.state("job"), managed.log())
        starts = [line[2] for line in managed.lines() if line[0] == "start"]
        ends = [line[2] for line in managed.lines() if line[0] == "end"]
        events, _ = replay(managed.root.job("job") / "journal")
        lost = [event.task for event in events if isinstance(event, TaskEnded) and event.outcome.value != "completed"]
        if self.failpoint.process == "manager":
            # Its fork server lives: nothing may be lost.
            assert lost == [], (name, managed.log())
            assert starts == ends == ["a", "b"], (name, starts, managed.log())
        else:
            assert len(lost) <= 1, (name, managed.log())
            for task_id in ("a", "b"):
                # What is lost may have run, once for each time that it was lost.
                assert 1 <= starts.count(task_id) <= 1 + lost.count(task_id), (name, starts, managed.log())
                assert ends.count(task_id) == starts.count(task_id), (name, starts, ends)


def run_all(steps: list[Failpoint], directory: Path) -> None:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        futures = {pool.submit(Run(each, directory).run): each for each in steps}
        errors = [f"{each}: {future.exception()}" for future, each in futures.items() if future.exception()]
    assert not errors, f"{len(errors)} of {len(steps)}:\n" + "\n".join(errors)


def test_the_manager_killed_at_every_step(tmp_path: Path) -> None:
    run_all(failpoints("manager", MANAGER_STEPS, tmp_path), tmp_path)


def test_the_fork_server_killed_at_every_step(tmp_path: Path) -> None:
    run_all(failpoints("server", SERVER_STEPS, tmp_path), tmp_path)


def test_an_attempt_claimed_by_a_killed_fork_server_is_decided_while_another_server_works(managed: ManagedRoot) -> None:
    fired = managed.root.path.parent / "fired"
    point = Failpoint("server", "air_executor.process.attempts", "create_attempt_log", "after", 2, str(fired))
    managed.start(wrapper=("-m", "tests.support.failpoints"), env={VARIABLE: msgspec.json.encode(point).decode()})
    environment = managed.client.save_environment(sys.executable, os.environ, "/")
    managed.submit("busy", managed.ledger_task("b", script="sleep 1000"), environment=environment)
    managed.wait_for_line("start")
    managed.submit("claimed", managed.ledger_task("a"), managed.ledger_task("z", "a", retries=1))
    assert managed.wait_for("claimed")["state"] == "completed"
    assert fired.exists()
    assert managed.tasks("claimed")["z"]["attempt"] == 2
    assert managed.state("busy")["state"] == "working"


def test_a_timeout_holds_for_a_runner_that_nobody_recorded(managed: ManagedRoot) -> None:
    fired = managed.root.path.parent / "fired"
    point = Failpoint("server", "air_executor.process.spool", "Spool.append", "before", 1, str(fired))
    managed.start(wrapper=("-m", "tests.support.failpoints"), env={VARIABLE: msgspec.json.encode(point).decode()})
    managed.submit("unknown", managed.ledger_task("a", script="sleep 1000", timeout_s=0.5))
    wait_until(fired.exists, what="the kill")
    assert managed.wait_for("unknown")["state"] == "failed"
    assert managed.task("unknown")["outcome"] == "timed_out"
    assert managed.task_processes() == []


RETRY_STEPS = [
    ("air_executor.manager.reception", "load_job", "after"),
    ("air_executor.store.journal", "Journal.flush", "before"),
    ("air_executor.store.journal", "write_all", "after"),
    ("air_executor.store.journal", "Journal.flush", "after"),
    ("air_executor.store.views", "exchange", "before"),
    ("air_executor.store.views", "exchange", "after"),
    ("air_executor.manager.job_run", "write_views", "after"),
    ("air_executor.manager.reception", "Reception._carry_out", "after"),
]


def ran_again(managed: ManagedRoot, fired: Path) -> None:
    """See that a task was run once more, and once only."""
    assert fired.exists()
    assert managed.wait_for("job", "completed")
    found = managed.tasks("job")
    assert (found["a"]["status"], found["a"]["attempt"], found["b"]["status"]) == ("completed", 2, "completed")
    starts = [line[2:4] for line in managed.lines() if line[0] == "start"]
    assert starts == [["a", "1"], ["a", "2"], ["b", "1"]]


@pytest.mark.parametrize("wanted", [None, ("a",)], ids=["all", "one task"])
@pytest.mark.parametrize(("module", "name", "moment"), RETRY_STEPS)
def test_a_retry_of_a_job_that_was_over_survives_a_kill(
    managed: ManagedRoot, module: str, name: str, moment: str, wanted: tuple[str, ...] | None
) -> None:
    managed.submit(
        "job", managed.ledger_task("a", script='[ "$AIR_EXECUTOR_ATTEMPT" = 2 ]'), managed.ledger_task("b", "a")
    )
    managed.start()
    assert managed.wait_for("job")["state"] == "failed"
    managed.stop()
    fired = managed.root.path.parent / "fired"
    # A manager that finds nothing but a job that is over writes nothing before the retry.
    point = Failpoint("manager", module, name, moment, 1, str(fired))
    process = managed.spawn(
        wrapper=("-m", "tests.support.failpoints"), env={VARIABLE: msgspec.json.encode(point).decode()}
    )
    request = send_request(managed.root, RetryTasks(job="job", tasks=wanted))
    wait_until(lambda: process.poll() is not None, what="the kill")
    managed.start()
    assert await_reply(request, 60)
    ran_again(managed, fired)


@pytest.mark.parametrize("wanted", [None, ("a",)], ids=["all", "one task"])
@pytest.mark.parametrize("is_over", [True, False], ids=["over", "not over"])
def test_a_retry_that_is_read_twice_adds_nothing_and_is_not_refused(
    managed: ManagedRoot, wanted: tuple[str, ...] | None, is_over: bool
) -> None:
    managed.submit(
        "job",
        managed.ledger_task("a", script='[ "$AIR_EXECUTOR_ATTEMPT" = 2 ]'),
        managed.ledger_task("b", "a"),
        is_open=not is_over,
    )
    fired = managed.root.path.parent / "fired"
    point = Failpoint("manager", "air_executor.manager.reception", "Reception._carry_out", "after", 1, str(fired))
    process = managed.spawn(
        wrapper=("-m", "tests.support.failpoints"), env={VARIABLE: msgspec.json.encode(point).decode()}
    )
    managed.wait_for_task("job", "b", lambda seen: seen["status"] == "skipped", "a failure")
    if is_over:
        managed.wait_for("job", "failed")
    request = send_request(managed.root, RetryTasks(job="job", tasks=wanted))
    wait_until(lambda: process.poll() is not None, what="the kill")
    assert request.exists()
    managed.start()
    assert await_reply(request, 60)
    if not is_over:
        managed.client.close("job")
    ran_again(managed, fired)
