"""Whatever people and accidents do to a root, in any order, the promises hold: Hypothesis chooses, the ledger judges."""

from __future__ import annotations

import contextlib
import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from air_executor.core.specs import TaskSpec
from air_executor.errors import InvalidJobError, JobNotFoundError
from tests.support.manager import ManagedRoot
from tests.support.waiting import wait_until

SCRIPTS = st.sampled_from(
    [":", "sleep 0.05", "sleep 0.3", "false", "sleep 0.05; false", "kill -9 $$", "trap '' TERM; sleep 0.3"]
)
OVER = ("completed", "failed", "cancelled")


class Promises(RuleBasedStateMachine):
    """Submit, queue, cancel, retry, kill, restart, corrupt; then look at what became of it."""

    def __init__(self) -> None:
        super().__init__()
        self._directory = tempfile.TemporaryDirectory()
        self.managed = ManagedRoot(Path(self._directory.name) / "root")
        self.tasks: dict[str, set[str]] = {}
        """Ids of what was submitted or queued with success, by job."""
        self.cancelled: set[str] = set()
        self.corrupted: set[str] = set()

    def teardown(self) -> None:
        try:
            self.judge()
        finally:
            self.managed.clean_up()
            self._directory.cleanup()

    @initialize()
    def start(self) -> None:
        self.managed.start(slots=4)

    @rule(scripts=st.lists(SCRIPTS, min_size=1, max_size=4), chained=st.booleans(), retries=st.integers(0, 2))
    def submit(self, scripts: list[str], chained: bool, retries: int) -> None:
        name = f"job-{len(self.tasks)}"
        tasks = [
            self.task(f"t{number}", number if chained else 0, script, retries) for number, script in enumerate(scripts)
        ]
        self.managed.submit(name, *tasks)
        self.tasks[name] = {task.id for task in tasks}

    def task(self, task_id: str, position: int, script: str, retries: int) -> TaskSpec:
        before = (f"t{position - 1}",) if position else ()
        return self.managed.ledger_task(task_id, *before, script=script, retries=retries)

    @precondition(lambda self: self.tasks)
    @rule(data=st.data(), script=SCRIPTS)
    def queue(self, data: st.DataObject, script: str) -> None:
        name = data.draw(st.sampled_from(sorted(self.tasks)))
        task = self.task(f"q{len(self.tasks[name])}", 0, script, 1)
        try:
            self.managed.client.queue(name, [task])
        except (InvalidJobError, JobNotFoundError):
            # It is over, or its files were corrupted: then the caller is told, and nothing was queued.
            return
        self.tasks[name].add(task.id)

    @precondition(lambda self: self.tasks)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.tasks)))
        self.managed.client.cancel(name, "the test wants it")
        self.cancelled.add(name)

    @precondition(lambda self: self.tasks)
    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.tasks)))
        # Of it something may still be ended, or its files were corrupted: then the caller is told.
        with contextlib.suppress(InvalidJobError):
            self.managed.client.retry(name)

    @precondition(lambda self: self.tasks)
    @rule(data=st.data())
    def corrupt(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.tasks)))
        if self.managed.state(name)["state"] in OVER:
            return
        path = self.managed.client.job_path(name) / "tasks.json"
        aside = path.with_name("mine.json")
        aside.write_text(data.draw(st.sampled_from(["", "[", '[{"id": 1}]', "{}", '[{"id": "x", "command": ""}]'])))
        aside.replace(path)
        self.corrupted.add(name)

    @rule()
    def kill_manager(self) -> None:
        self.managed.kill()
        self.managed.start(slots=4)

    @rule()
    def kill_fork_servers(self) -> None:
        for server in self.managed.fork_servers():
            server.kill()

    @rule()
    def kill_both(self) -> None:
        self.managed.kill()
        self.kill_fork_servers()
        self.managed.start(slots=4)

    @rule()
    def restart(self) -> None:
        self.managed.stop()
        self.managed.start(slots=4)

    def judge(self) -> None:
        """Hold what is recorded against what the tasks themselves wrote."""
        for name in self.tasks:
            self.managed.wait_for(name)
        wait_until(self.managed.task_processes, lambda left: not left, what="no process of a task")
        starts, ends = self.read_ledger()
        for name, submitted in self.tasks.items():
            state, tasks = self.managed.state(name), self.managed.tasks(name) if name not in self.corrupted else {}
            said = json.dumps(state)
            assert state["state"] != "cancelled" or name in self.cancelled, said
            if name in self.corrupted:
                continue
            # A job that was over when it was cancelled or added to may lack nothing that was accepted.
            assert submitted <= tasks.keys(), f"lost: {submitted - tasks.keys()} of {said}"
            failed = [task for task in tasks.values() if task["status"] == "failed"]
            assert state["state"] != "completed" or not failed, said
            for task in tasks.values():
                self.judge_task(task, starts.get((name, task["id"]), []), ends.get((name, task["id"]), []))

    def judge_task(self, task: dict[str, Any], starts: list[int], ends: list[int]) -> None:
        said = json.dumps(task)
        assert task["status"] in ("completed", "failed", "cancelled", "skipped"), said
        assert len(starts) == len(set(starts)), f"one attempt twice: {starts}, {said}"
        if task["status"] == "completed":
            assert task["attempt"] in ends, f"completed, but it did not run to its end: {said}"
            assert max(starts) == task["attempt"], f"completed, and ran again: {said}"
        if task["status"] == "failed":
            assert task["error"], said
        if task["status"] == "skipped":
            assert not starts, said

    def read_ledger(self) -> tuple[dict[tuple[str, str], list[int]], dict[tuple[str, str], list[int]]]:
        """Return the attempts that started and that ran to their end, by job and task; no two of a task at once."""
        starts: dict[tuple[str, str], list[int]] = {}
        ends: dict[tuple[str, str], list[int]] = {}
        running: dict[tuple[str, str], str] = {}
        for what, job, task_id, attempt, pid in self.managed.lines():
            key = (job, task_id)
            if what == "start":
                assert key not in running or not _lives(running[key]), f"two at once: {key}"
                running[key] = pid
                starts.setdefault(key, []).append(int(attempt))
            else:
                running.pop(key, None)
                ends.setdefault(key, []).append(int(attempt))
        return starts, ends


def _lives(pid: str) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_the_promises_hold_whatever_is_done_in_any_order() -> None:
    run_state_machine_as_test(
        Promises,
        settings=settings(
            max_examples=12,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
