"""The attempts that hold a slot: which task each one is, how its processes are recognised, why it is being stopped."""

from __future__ import annotations

from dataclasses import dataclass

from air_executor.core.events import Outcome
from air_executor.core.job import Job
from air_executor.core.task import Task
from air_executor.process.protocol import Launch, Started
from air_executor.process.tree import AttemptTree, tree_of


@dataclass
class Attempt:
    """One launched attempt, until its end is recorded."""

    job: Job
    task: Task
    number: int
    launch: Launch
    started: Started | None = None
    stop_cause: Outcome | None = None
    """Why it is to end; None while it may run."""

    @property
    def id(self) -> str:
        """Return the attempt id, which is also the mark of its processes."""
        return self.launch.attempt_id

    @property
    def tree(self) -> AttemptTree:
        """Return how to recognise its processes."""
        if self.started is not None:
            return tree_of(self.started)
        return AttemptTree(attempt_id=self.id, log_path=self.launch.log_path)

    @property
    def name(self) -> str:
        """Return how log records call it."""
        return f"job {self.job.name}: task {self.task.spec.id} attempt {self.number}"


def attempt_id(job: Job, task_id: str, number: int) -> str:
    """Return the id of an attempt: unique as long as there are jobs, also among jobs written by hand with one id."""
    return f"{job.name}/{job.id}/{task_id}/{number}"
