"""Many jobs, while managers and fork servers are killed again and again: the ledger that tasks write themselves is the judge."""

from __future__ import annotations

import os
import random
import secrets
from collections import defaultdict
from pathlib import Path
from typing import Any

from air_executor.core.events import JobAccepted, LaunchVoided, TaskEnded, TaskLaunched
from air_executor.core.specs import TaskSpec
from air_executor.store.journal import replay
from tests.support.manager import ManagedRoot
from tests.support.waiting import wait_until

JOBS = 200
SLOTS = 8
OVER = ("completed", "failed", "cancelled")


def random_tasks(managed: ManagedRoot, chance: random.Random) -> list[TaskSpec]:
    """Return one to four tasks; some depend on each other, some fail, some are retried."""
    tasks: list[TaskSpec] = []
    for number in range(chance.choice([1, 1, 1, 2, 4])):
        fails = chance.random() < 0.08
        tasks.append(
            managed.ledger_task(
                f"t{number}",
                *chance.sample([task.id for task in tasks], k=min(len(tasks), chance.randrange(2))),
                script=f"sleep {chance.choice([0, 0.02, 0.1, 0.3, 0.8])}" + ("; false" if fails else ""),
                retries=chance.choice([0, 0, 1, 3]),
                retry_delay_s=chance.choice([0, 0.2]),
            )
        )
    return tasks


class Ledger:
    """What the tasks themselves wrote, in the order in which it happened."""

    def __init__(self, lines: list[list[str]]) -> None:
        self.starts: dict[tuple[str, str], list[int]] = defaultdict(list)
        self.ends: dict[tuple[str, str], list[int]] = defaultdict(list)
        self.overlaps: list[tuple[str, str]] = []
        running: dict[tuple[str, str], int] = {}
        for what, job, task_id, attempt, _ in lines:
            key = (job, task_id)
            if what == "start":
                self.starts[key].append(int(attempt))
                if key in running:
                    self.overlaps.append(key)
                running[key] = int(attempt)
            else:
                self.ends[key].append(int(attempt))
                running.pop(key, None)
        self.unended = running


class Verdict:
    """What the journal of a job says, held against the ledger."""

    def __init__(self, managed: ManagedRoot, name: str, ledger: Ledger) -> None:
        self.name = name
        self.faults: list[str] = []
        self.lost = 0
        self.not_started = 0
        self.voided = 0
        state, self.tasks = managed.state(name), managed.tasks(name)
        if state["state"] not in OVER:
            self.faults.append(f"it is {state['state']}")
        failed = sum(task["status"] == "failed" for task in self.tasks.values())
        if (state["state"] == "completed") != (failed == 0):
            self.faults.append(f"it is {state['state']} with {failed} failed tasks")
        events, _ = replay(managed.client.job_path(name) / "journal")
        if not isinstance(events[0], JobAccepted):
            self.faults.append("its journal has no beginning")
        self.by_task: dict[str, list[Any]] = defaultdict(list)
        for event in events:
            if isinstance(event, (TaskLaunched, LaunchVoided, TaskEnded)):
                self.by_task[event.task].append(event)
        for task_id, task in self.tasks.items():
            self._judge(task_id, task, ledger.starts[name, task_id], ledger.ends[name, task_id])

    def _judge(self, task_id: str, task: dict[str, Any], starts: list[int], ends: list[int]) -> None:
        recorded: dict[int, Any] = {}
        for event in self.by_task[task_id]:
            if not isinstance(event, TaskLaunched):
                if event.attempt in recorded:
                    self.faults.append(f"{task_id}: attempt {event.attempt} ended twice")
                recorded[event.attempt] = event
        if len(starts) != len(set(starts)):
            self.faults.append(f"{task_id}: an attempt started twice: {starts}")
        if task["status"] not in ("completed", "failed", "skipped"):
            self.faults.append(f"{task_id}: it is {task['status']}")
        if task["status"] == "skipped" and starts:
            self.faults.append(f"{task_id}: skipped, but it ran")
        completed = [number for number, event in recorded.items() if getattr(event, "outcome", "") == "completed"]
        if len(completed) > 1 or (completed and max(starts, default=0) > completed[0]):
            self.faults.append(f"{task_id}: completed as attempt {completed}, and ran again: {starts}")
        for number, event in recorded.items():
            self._judge_attempt(f"{task_id}.{number}", event, number in starts, number in ends)
        for number in starts:
            if number not in recorded:
                self.faults.append(f"{task_id}: attempt {number} ran, and no end of it is recorded")

    def _judge_attempt(self, what: str, event: Any, has_started: bool, has_ended: bool) -> None:
        if isinstance(event, LaunchVoided):
            self.voided += 1
            if has_started:
                self.faults.append(f"{what}: voided, but it ran")
        elif event.outcome == "completed" or (event.outcome == "failed" and event.exit_code is not None):
            if not (has_started and has_ended):
                self.faults.append(f"{what}: {event.outcome.value}, but it did not run to its end")
        elif event.outcome == "not_started":
            self.not_started += 1
            if has_started:
                self.faults.append(f"{what}: not started, but it ran")
        elif event.outcome == "lost":
            self.lost += 1
        else:
            self.faults.append(f"{what}: {event.outcome.value}: {event.error}")


def test_nothing_is_lost_and_nothing_runs_twice_while_managers_and_fork_servers_are_killed(
    managed: ManagedRoot, capsys: Any
) -> None:
    seed = int(os.environ.get("AIR_EXECUTOR_TEST_SEED") or secrets.randbelow(2**32))
    print(f"AIR_EXECUTOR_TEST_SEED={seed}")
    chance = random.Random(seed)
    names = [f"job-{number:03d}" for number in range(JOBS)]
    managed.start(slots=SLOTS)
    for name in names:
        managed.submit(name, *random_tasks(managed, chance))
    open_names = set(names)
    kills = {"manager": 0, "fork server": 0, "both": 0}

    def is_over(name: str) -> bool:
        return managed.state(name)["state"] in OVER

    while open_names:
        # The next kill comes when so many more lines are in the ledger: the choice is the seed's, not the clock's.
        least = count_lines(managed.ledger) + chance.randrange(1, 25)
        wait_until(
            lambda: count_lines(managed.ledger),
            lambda count, least=least, names=open_names: count >= least or all(map(is_over, names)),
            timeout_s=90,
            what=f"progress (seed {seed}); the log ends: {managed.log()[-2000:]}",
        )
        open_names = {name for name in open_names if not is_over(name)}
        victim = chance.choice(list(kills))
        kills[victim] += 1
        if victim in ("manager", "both"):
            managed.kill()
        if victim in ("fork server", "both"):
            for server in managed.fork_servers():
                server.kill()
        if victim in ("manager", "both"):
            managed.start(slots=SLOTS)
    for name in names:
        managed.wait_for(name)
    wait_until(managed.task_processes, lambda left: not left, what="no process of a task")
    ledger = Ledger(managed.lines())
    verdicts = [Verdict(managed, name, ledger) for name in names]
    print(
        f"{kills} kills, {len(ledger.starts)} tasks, {sum(each.lost for each in verdicts)} attempts lost, "
        f"{sum(each.not_started for each in verdicts)} not started, {sum(each.voided for each in verdicts)} voided"
    )
    assert ledger.overlaps == [], f"seed {seed}"
    assert ledger.unended == {}, f"seed {seed}"
    faults = {verdict.name: verdict.faults for verdict in verdicts if verdict.faults}
    assert faults == {}, f"seed {seed}"
    assert sum(kills.values()) >= 10


def count_lines(path: Path) -> int:
    """Return how much has happened."""
    return path.read_bytes().count(b"\n") if path.exists() else 0
