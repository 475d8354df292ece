"""Finds the jobs of task instances that a former scheduler left behind, and has them tracked again.

What cannot be read now is asked for again: to reject a task instance has Airflow run it anew, beside a job of it that may run.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any

from air_executor.airflow import compat, job_names
from air_executor.airflow.fault_log import FaultLog
from air_executor.airflow.tracked_jobs import TrackedJob, TrackedJobs
from air_executor.client import AirExecutorClient
from air_executor.core.states import JobState
from air_executor.errors import DamagedFileError, JobNotFoundError

_QUEUED = "queued"
_RESTARTING = "restarting"


@dataclass(frozen=True)
class Orphan:
    """A task instance whose scheduler is gone: what must be known of it once its database row is out of reach."""

    key: Any
    prefix: str
    """What the names of its jobs start with."""
    state: str
    external_executor_id: str | None


def describe(ti: Any) -> Orphan:
    """Read a task instance; errors of the database are for the scheduler, which tries again."""
    return Orphan(ti.key, make_prefix(ti), str(getattr(ti.state, "value", ti.state)), ti.external_executor_id)


def make_prefix(ti: Any) -> str:
    """Return what the names of the jobs of a task instance start with."""
    return job_names.make_task_prefix(ti.dag_id, ti.task_id, ti.run_id, ti.map_index, ti.try_number, str(ti.id))


def index_names(names: Iterable[str]) -> dict[str, str]:
    """Return the newest job name by prefix.

    The id that the database holds may be missing (a crash came between submission and commit), or be that of an
    earlier section of a task that was deferred and resumed. The prefix tells both.
    """
    newest: dict[str, str] = {}
    for name in names:
        prefix, unique = job_names.split_name(name)
        if unique and name > newest.get(prefix, ""):
            newest[prefix] = name
    return newest


def is_adoptable(ti_state: str, job_state: JobState, has_end_mark: bool) -> bool:
    """Tell whether a task instance in `ti_state` still belongs to its newest job.

    A task instance that is still queued was never started by a job that completed, so that job is of an earlier
    section. A failure whose mark is gone was reported before; it is news only for one that seems to run.
    """
    if not job_state.is_terminal:
        return True
    if ti_state != _QUEUED:
        return True
    return job_state is not JobState.COMPLETED and has_end_mark


def _find_name(orphan: Orphan, newest: dict[str, str], names: frozenset[str]) -> str | None:
    name = newest.get(orphan.prefix)
    # One that was cleared while it ran has a new id already, and its job the old one in its name.
    if name is None and orphan.state == _RESTARTING and orphan.external_executor_id in names:
        return orphan.external_executor_id
    return name


class Adopter:
    """Takes over the jobs of orphans for one executor."""

    def __init__(self, jobs: TrackedJobs, hold: Callable[[Orphan, str | None], None], faults: FaultLog) -> None:
        """Track in `jobs`; `hold` is called with each orphan that is taken, and with its job's name once that is known."""
        self._jobs = jobs
        self._hold = hold
        self._faults = faults
        self._put_off: dict[Hashable, Orphan] = {}

    def __len__(self) -> int:
        """Return the number of orphans whose jobs could not be read yet."""
        return len(self._put_off)

    def adopt(self, open_client: Callable[[], AirExecutorClient], orphans: Iterable[Orphan]) -> set[Orphan]:
        """Take orphans and return those that have no job. Raises no error."""
        rejected: set[Orphan] = set()
        try:
            client = open_client()
            names = frozenset(client.job_names())
            newest = index_names(names)
            marked = frozenset(client.ended_names())
        except Exception as error:
            self._keep(orphans, error)
            return rejected
        for orphan in orphans:
            try:
                if not self._adopt_one(client, orphan, _find_name(orphan, newest, names), marked):
                    rejected.add(orphan)
            except Exception as error:
                self._keep([orphan], error)
        return rejected

    def adopt_later(self, open_client: Callable[[], AirExecutorClient]) -> set[Orphan]:
        """Try again with those that could not be read, and return those that turn out to have no job. Raises no error."""
        # One whose try has a newer job by now needs no other.
        orphans = [orphan for key, orphan in self._put_off.items() if self._jobs.find(key) is None]
        self._put_off.clear()
        return self.adopt(open_client, orphans) if orphans else set()

    def drop(self, key: Hashable) -> None:
        """Forget the orphan of this key; idempotent."""
        self._put_off.pop(key, None)

    def _adopt_one(self, client: AirExecutorClient, orphan: Orphan, name: str | None, marked: frozenset[str]) -> bool:
        if name is None:
            return False
        log_path = None
        try:
            view = client.job(name)
        except JobNotFoundError:
            return False
        except DamagedFileError as error:
            # It may run. Whoever looks for its end waits until it can be read, but not for ever.
            self._faults.tell("Air-Executor adopts job %s, of which it knows little: %s", name, error)
        else:
            if not is_adoptable(orphan.state, view.state, name in marked):
                return False
            log_path = view.labels.get("log_path")
        self._jobs.add(TrackedJob(name, orphan.key, compat.TASK_SUCCEEDED, compat.TASK_FAILED, log_path))
        self._hold(orphan, name)
        return True

    def _keep(self, orphans: Iterable[Orphan], error: Exception) -> None:
        self._faults.tell("Air-Executor cannot adopt tasks now, will try again: %s", error)
        for orphan in orphans:
            self._put_off[orphan.key] = orphan
            self._hold(orphan, None)
