"""Finds which of the tracked jobs have ended, and has each end reported once.

An error is never taken for an end: what cannot be read now is asked for again, and no job keeps others from being
looked at. Raises no error for a single job.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from air_executor.airflow import outcome, task_log
from air_executor.airflow.fault_log import FaultLog
from air_executor.airflow.outcome import Outcome
from air_executor.airflow.tracked_jobs import TrackedJob, TrackedJobs
from air_executor.airflow.workload_job import TASK_ID
from air_executor.client import AirExecutorClient, TaskView
from air_executor.core.states import JobState
from air_executor.errors import DamagedFileError, JobNotFoundError

_DAMAGED_FOR_S = 180.0
_DAMAGED_LOOKS = 3
_OUTPUT_TAIL_BYTES = 4096


@dataclass
class _Damage:
    """Since when a job's files were damaged at each look."""

    since: float
    looks: int = 0


class Collector:
    """Looks for ends among the jobs of one executor."""

    def __init__(
        self,
        jobs: TrackedJobs,
        report: Callable[[TrackedJob, Outcome], None],
        faults: FaultLog,
        note_end: Callable[[AirExecutorClient, TrackedJob, Outcome], None] = lambda *_: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Look after `jobs`; `report` is called with each that has ended, unless a newer one owns its key.

        :param note_end: called with each that was reported, to count it.
        """
        self._jobs = jobs
        self._report = report
        self._faults = faults
        self._note_end = note_end
        self._clock = clock
        self._damaged: dict[str, _Damage] = {}
        self._mark_may_follow: set[str] = set()
        """Jobs whose end was seen at the last look at all: the manager leaves their mark a moment after the state."""

    def collect(self, client: AirExecutorClient) -> int:
        """Settle the jobs that left their mark and return how many have ended; the marks of others stay.

        :raises OSError: the marks cannot be listed.
        """
        names = client.ended_names()
        for name in self._mark_may_follow.intersection(names):
            # Nobody else comes for it, and its job would be kept for a day.
            self._mark_may_follow.discard(name)
            client.forget_ended(name)
        marked = (self._jobs.get(name) for name in names)
        return sum(self._settle(client, job) for job in marked if job is not None)

    def check_all(self, client: AirExecutorClient) -> None:
        """Settle every job that has ended: a mark may be lost, a directory removed by hand."""
        self._mark_may_follow = {job.name for job in self._jobs if self._settle(client, job)}

    def _settle(self, client: AirExecutorClient, job: TrackedJob) -> bool:
        """Report a job if it has ended; tell whether it has."""
        try:
            ended = self._find_end(client, job.name)
            if ended is None:
                return False
            if self._jobs.owns_key(job):
                self._report(job, ended)
                self._note_end(client, job, ended)
            self._jobs.remove(job)
            # Last, so that an end is rather reported twice than never.
            client.forget_ended(job.name)
        except Exception as error:
            # Whatever it is, it must not stop the others, nor the scheduler.
            self._faults.tell("Air-Executor cannot tell about job %s, will look again: %s", job.name, error)
            return False
        return True

    def _find_end(self, client: AirExecutorClient, name: str) -> Outcome | None:
        """Return how a job ended, None if it has not.

        :raises OSError: that cannot be told now.
        :raises DamagedFileError: nor this, but it may yet be restored.
        """
        try:
            ended = _read_end(client, name)
        except JobNotFoundError:
            ended = outcome.make_lost_outcome(name)
        except DamagedFileError as error:
            if not self._stays_damaged(name):
                raise
            ended = outcome.make_damaged_outcome(name, str(error))
        self._damaged.pop(name, None)
        return ended

    def _stays_damaged(self, name: str) -> bool:
        damage = self._damaged.setdefault(name, _Damage(self._clock()))
        damage.looks += 1
        return damage.looks >= _DAMAGED_LOOKS and self._clock() - damage.since >= _DAMAGED_FOR_S


def read_output(client: AirExecutorClient, name: str, attempt: int) -> str:
    """Return the end of what a runner printed; nothing if it never started."""
    return task_log.read_tail(client.log_path(name, TASK_ID, attempt), _OUTPUT_TAIL_BYTES)


def _read_end(client: AirExecutorClient, name: str) -> Outcome | None:
    view = client.job(name)
    if not view.state.is_terminal:
        return None
    if view.state is JobState.COMPLETED:
        return outcome.judge(view, None)
    task = _find_task(client, name)
    return outcome.judge(view, task, read_output(client, name, task.attempt) if task else "")


def _find_task(client: AirExecutorClient, name: str) -> TaskView | None:
    try:
        return next(iter(client.tasks(name)), None)
    except JobNotFoundError:
        # Its state is known, so it is not lost: one that was refused may have no tasks.json.
        return None
