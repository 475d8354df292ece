"""Reads the end of a job as Airflow must hear it: what happened to the workload, and a reason for people."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from air_executor.airflow import exit_codes
from air_executor.core.events import Outcome as EngineOutcome
from air_executor.core.states import JobState, TaskStatus

_MAX_LAST_LINES = 5
_MAX_REASON_CHARACTERS = 2000


class EndedJob(Protocol):
    """What is read of a job."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def state(self) -> JobState:
        """Its state."""

    @property
    def error(self) -> str | None:
        """Why it failed, as the engine says it."""


class EndedTask(Protocol):
    """What is read of its one task."""

    @property
    def status(self) -> TaskStatus:
        """Its status."""

    @property
    def error(self) -> str | None:
        """Why it failed, as the engine says it."""

    @property
    def outcome(self) -> EngineOutcome | None:
        """How its last attempt ended."""

    @property
    def exit_code(self) -> int | None:
        """What its runner exited with, if it did."""

    @property
    def signal(self) -> int | None:
        """What ended its runner, if a signal did."""


class Verdict(Enum):
    """What the executor reports."""

    SUCCEEDED = "succeeded"
    """Airflow's supervisor ran to its end."""
    FAILED = "failed"
    """The workload did not run to its end, or its process failed."""
    STOPPED = "stopped"
    """A person or the scheduler took the task instance away while it ran: a failure that is nobody's fault."""
    SUPERSEDED = "superseded"
    """The task instance is no longer this attempt's business: report nothing."""


@dataclass(frozen=True)
class Outcome:
    """The end of a job."""

    verdict: Verdict
    reason: str = ""
    """A sentence or more for people; empty for a success."""
    is_in_task_log: bool = False
    """The runner lived to write the reason into the task's own log."""


def judge(job: EndedJob, task: EndedTask | None, last_output: str = "") -> Outcome:
    """Return what the end of `job` means. `last_output` is the end of the attempt's log."""
    if job.state is JobState.COMPLETED:
        return Outcome(Verdict.SUCCEEDED)
    if task is None:
        return _fail(job.name, job.error or "its files are not valid", "")
    if task.exit_code == exit_codes.SUPERSEDED:
        return Outcome(Verdict.SUPERSEDED, f"Job {job.name}: {_last_line(last_output) or 'superseded'}")
    if task.exit_code == exit_codes.STOPPED_BY_SERVER:
        reason = "ended, because its task instance was marked, cleared or deleted while it ran"
        return Outcome(Verdict.STOPPED, f"Job {job.name}: {reason}", is_in_task_log=True)
    if job.state is JobState.CANCELLED or task.status is TaskStatus.CANCELLED:
        return _fail(job.name, task.error or job.error or "the job was cancelled", "")
    if task.exit_code in (exit_codes.COULD_NOT_RUN, exit_codes.UNREADABLE_WORKLOAD):
        reason = _last_line(last_output) or task.error or "the workload could not be run"
        return Outcome(
            Verdict.FAILED, _shorten(f"Job {job.name}: {reason}"), task.exit_code == exit_codes.COULD_NOT_RUN
        )
    # With an exit code of its own the supervisor was alive to the end, and has logged how the task's process ended.
    is_in_task_log = task.exit_code is not None and task.outcome is EngineOutcome.FAILED
    return _fail(job.name, _find_cause(job, task), "" if is_in_task_log else last_output, is_in_task_log)


def make_lost_outcome(job_name: str) -> Outcome:
    """Return the outcome of a job whose directory is gone."""
    return _fail(job_name, "lost: its directory vanished, so nobody knows how it ended", "")


def make_damaged_outcome(job_name: str, cause: str) -> Outcome:
    """Return the outcome of a job whose files stay damaged."""
    return _fail(job_name, f"its files stay damaged, so nobody can tell how it ended: {cause}", "")


def name_signal(number: int) -> str:
    """Return for example `SIGKILL (9)`."""
    try:
        return f"{signal.Signals(number).name} ({number})"
    except ValueError:
        return f"signal {number}"


def _find_cause(job: EndedJob, task: EndedTask) -> str:
    known = task.error or job.error or ""
    if task.outcome is EngineOutcome.FAILED and task.exit_code is not None and task.exit_code > 128:
        number = task.exit_code - 128
        hint = "; the kernel ends processes so when memory runs out" if number == signal.SIGKILL else ""
        return f"the task's process was ended by {name_signal(number)}{hint}"
    if known:
        return known
    if task.signal is not None:
        return f"its runner was ended by {name_signal(task.signal)}"
    if task.exit_code is not None:
        return f"its process exited with code {task.exit_code}"
    return "lost: it started, and nobody saw how it ended"


def _fail(job_name: str, cause: str, last_output: str, is_in_task_log: bool = False) -> Outcome:
    reason = f"Job {job_name}: {cause}"
    lines = [line for line in last_output.splitlines() if line.strip() and line.strip() not in reason]
    if lines:
        reason += "\nLast lines of its output:\n" + "\n".join(lines[-_MAX_LAST_LINES:])
    return Outcome(Verdict.FAILED, _shorten(reason), is_in_task_log)


def _last_line(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _shorten(text: str) -> str:
    return text if len(text) <= _MAX_REASON_CHARACTERS else text[:_MAX_REASON_CHARACTERS] + " ..."
