"""One run of a job in the history: what its events change in the tables. Pure but for the clock that events carry."""

from __future__ import annotations

import contextlib
from datetime import datetime
from typing import Any

import msgspec

from air_executor.core.events import (
    AnyEvent,
    JobAccepted,
    JobFinished,
    LaunchVoided,
    TaskEnded,
    TaskLaunched,
    TaskRestored,
    TasksQueued,
    TasksReset,
    ViewWritten,
)
from air_executor.core.job import Job
from air_executor.core.states import TaskStatus
from air_executor.core.task import Task
from air_executor.errors import InvalidTransitionError
from air_executor.history.progress_curve import Counts, ProgressCurve
from air_executor.history.rows import Row, Rows

REMOVED = "removed"
"""State of a run whose job was removed, or put back to an older state, before it was over; outcome of attempts that ran then."""
VOIDED = "voided"
"""Outcome of an attempt that never started."""
_MOST_TEXT = 4000
_MOST_NAME = 200
_MOST_VALUE = 1000


class _FollowedJob(Job):
    """Tells which tasks an event changed: some, as those that are skipped, it does not name."""

    def __init__(self, accepted: JobAccepted) -> None:
        super().__init__(accepted)
        self.changed: set[str] = set()

    def _move(self, task: Task, status: TaskStatus, at: datetime, *, check: bool = True) -> None:
        # Every change of a status goes through here.
        self.changed.add(task.spec.id)
        super()._move(task, status, at, check=check)


class RunRecord:
    """One run: built from the beginning of its journal, told what is new, asked for rows."""

    def __init__(self, run_id: int, accepted: JobAccepted, *, is_first: bool) -> None:
        """Begin with the first event of a journal.

        :param is_first: no other journal of this job was recorded, or this one goes on with it.
        """
        self.run_id = run_id
        self._job = _FollowedJob(accepted)
        self._is_first = is_first
        self._started_at: datetime | None = None
        self._ended_at: datetime | None = None
        self._accepted_at = accepted.at
        self._curve = ProgressCurve(accepted.at)
        self._rows = Rows()

    @property
    def is_over(self) -> bool:
        """Claim that the job has ended, as far as its journal was read."""
        return self._job.state.is_terminal

    @property
    def is_durable(self) -> bool:
        """Claim that the journal is to survive a power cut."""
        return self._job.options.durable

    def replay(self, events: list[AnyEvent]) -> None:
        """Apply events that are recorded already."""
        for event in events:
            # One that does not fit was told of when it was recorded.
            with contextlib.suppress(InvalidTransitionError):
                self._job.apply(event)
        self._job.changed.clear()

    def resume(
        self, accepted_at: datetime, started_at: datetime | None, ended_at: datetime | None, curve: ProgressCurve
    ) -> None:
        """Take over what the database knows and a journal need not know any more."""
        self._accepted_at, self._started_at, self._ended_at, self._curve = accepted_at, started_at, ended_at, curve

    def note(self, event: AnyEvent) -> None:
        """Apply an event that is not recorded.

        :raises InvalidTransitionError: it does not fit; the journal or the manager is wrong.
        """
        job = self._job
        if isinstance(event, JobAccepted):
            self._note_progress(event.at)
            return
        if isinstance(event, ViewWritten):
            return
        if isinstance(event, (TaskEnded, LaunchVoided)):
            launched_at = job.tasks[event.task].started_at if event.task in job.tasks else None
            job.apply(event)
            self._note_end(event, launched_at)
        else:
            job.apply(event)
        if isinstance(event, TaskLaunched):
            self._started_at = self._started_at or event.at
            self._add_attempt(self._rows.attempts, event.task, event.attempt, launched_at=event.at)
        elif isinstance(event, TasksQueued):
            job.changed.update(spec.id for spec in event.tasks)
        elif isinstance(event, TaskRestored):
            self._note_restored(event)
        elif isinstance(event, JobFinished):
            self._ended_at = event.at
        elif isinstance(event, TasksReset):
            self._ended_at = None
        self._note_progress(event.at)

    def take_rows(self, rows: Rows, cursor: Row, *, is_gone: bool) -> None:
        """Add what has changed since the last call.

        :param cursor: columns of the job's row that say how far its journal is recorded.
        :param is_gone: nothing will ever be added to the journal.
        """
        mine, self._rows = self._rows, Rows()
        if is_gone and not self.is_over:
            for task in self._job.tasks.values():
                if task.status is TaskStatus.RUNNING:
                    self._add_attempt(
                        mine.attempts, task.spec.id, task.attempt, launched_at=task.started_at, outcome=REMOVED
                    )
        rows.attempts.update(mine.attempts)
        rows.restored_attempts.update(mine.restored_attempts)
        for task_id in self._job.changed:
            rows.tasks[self.run_id, task_id] = self._task_row(self._job.tasks[task_id])
        self._job.changed.clear()
        is_anew, points = self._curve.take_changes()
        if is_anew:
            rows.void_progress.add(self.run_id)
        for number, point in points.items():
            rows.progress[self.run_id, number] = {
                "run_id": self.run_id,
                "point": number,
                "job_name": self._job.name,
                "timestamp": point.at,
                **point.counts._asdict(),
            }
        rows.jobs[self.run_id] = {"run_id": self.run_id, **self._job_row(is_gone=is_gone), **cursor}

    def _note_end(self, event: TaskEnded | LaunchVoided, launched_at: datetime | None) -> None:
        if isinstance(event, LaunchVoided):
            fields: Row = {"outcome": VOIDED}
        else:
            fields = {
                "outcome": event.outcome.value,
                "started_at": event.started_at,
                "duration_s": _seconds_between(event.started_at, event.at),
                "exit_code": event.exit_code,
                "signal": event.signal,
                "cpu_s": event.cpu_s,
                "peak_memory_bytes": event.peak_memory_bytes,
                "error": _bounded(event.error),
                "killed": _list(event.killed),
            }
        self._add_attempt(
            self._rows.attempts, event.task, event.attempt, launched_at=launched_at, ended_at=event.at, **fields
        )

    def _note_restored(self, event: TaskRestored) -> None:
        if not event.attempt or not self._is_first:
            # Of an older state that was put back the attempts are recorded: in the run that it replaces.
            return
        self._started_at = self._started_at or event.started_at
        if event.status is TaskStatus.RUNNING:
            # Until this line, a journal that was compacted looked like one that was removed.
            self._add_attempt(self._rows.attempts, event.task, event.attempt, launched_at=event.started_at)
            return
        self._add_attempt(
            self._rows.restored_attempts,
            event.task,
            event.attempt,
            launched_at=event.started_at,
            started_at=event.started_at,
            ended_at=event.completed_at,
            duration_s=_seconds_between(event.started_at, event.completed_at),
            outcome=event.outcome.value if event.outcome else None,
            exit_code=event.exit_code,
            signal=event.signal,
            cpu_s=event.cpu_s,
            peak_memory_bytes=event.peak_memory_bytes,
            error=_bounded(event.error),
            killed=_list(event.killed),
        )

    def _add_attempt(self, to: dict[Any, Row], task_id: str, attempt: int, **fields: Any) -> None:
        to[self.run_id, task_id, attempt] = {
            **dict.fromkeys(_ATTEMPT_FIELDS),
            "run_id": self.run_id,
            "task_id": task_id,
            "attempt": attempt,
            **fields,
        }

    def _note_progress(self, at: datetime) -> None:
        counts = self._job.counts
        self._curve.note(
            at,
            Counts(
                len(self._job.tasks),
                counts[TaskStatus.COMPLETED],
                counts[TaskStatus.RUNNING],
                counts[TaskStatus.FAILED],
                counts[TaskStatus.PENDING],
                counts[TaskStatus.CANCELLED],
                counts[TaskStatus.SKIPPED],
            ),
        )

    def _task_row(self, task: Task) -> Row:
        return {
            "run_id": self.run_id,
            "task_id": task.spec.id,
            "position": task.order,
            "command": _bounded(" ".join((task.spec.command, *task.spec.args))),
            "status": task.status.value,
            "attempts": task.attempt,
            "outcome": task.outcome.value if task.outcome else None,
            "error": _bounded(task.error),
            "created_at": task.created_at,
            "started_at": task.started_at,
            "ended_at": task.completed_at,
            "duration_s": _seconds_between(task.started_at, task.completed_at),
        }

    def _job_row(self, *, is_gone: bool) -> Row:
        job = self._job
        counts = {f"{status.value}_tasks": number for status, number in job.counts.items()}
        return {
            "state": REMOVED if is_gone and not self.is_over else job.state.value,
            "error": _bounded(job.error),
            "started_at": self._started_at,
            "updated_at": job.updated_at,
            "ended_at": self._ended_at,
            "duration_s": _seconds_between(self._accepted_at, self._ended_at),
            "total_tasks": len(job.tasks),
            **counts,
            "progress_step_s": self._curve.step_s,
        }


_ATTEMPT_FIELDS = (
    "launched_at",
    "started_at",
    "ended_at",
    "duration_s",
    "outcome",
    "exit_code",
    "signal",
    "cpu_s",
    "peak_memory_bytes",
    "error",
    "killed",
)


def label_rows(run_id: int, accepted: JobAccepted) -> list[Row]:
    """Return the labels of a job as rows."""
    return [
        {"run_id": run_id, "name": name, "value": str(_bounded(value, _MOST_VALUE))}
        for name, value in {str(_bounded(name, _MOST_NAME)): value for name, value in accepted.labels.items()}.items()
    ]


def _seconds_between(begin: datetime | None, end: datetime | None) -> float | None:
    return max((end - begin).total_seconds(), 0.0) if begin is not None and end is not None else None


def _bounded(text: str | None, most: int = _MOST_TEXT) -> str | None:
    if text is None:
        return None
    # PostgreSQL holds no NUL in a text.
    text = text.replace("\0", "\\0")
    # The end of an error holds the last lines of the log, its beginning the cause.
    return text if len(text) <= most else f"{text[: most // 2]} ... {text[len(text) - most // 2 + 5 :]}"


def _list(words: tuple[str, ...]) -> str | None:
    return _bounded(msgspec.json.encode(words).decode()) if words else None
