"""Why a task has not run, or how it ended: derived from what is known of its job and manager. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import Enum
from typing import NamedTuple, Protocol

from air_executor.core.states import JobState, TaskStatus

_MOST_NAMED = 10


class Cause(str, Enum):
    """What holds a task, or where it is."""

    RUNNING = "running"
    """It runs."""
    COMPLETED = "completed"
    """It ran and completed."""
    FAILED = "failed"
    """It ran, failed, and has no retry left."""
    CANCELLED = "cancelled"
    """Its job was cancelled or failed fast."""
    SKIPPED = "skipped"
    """A task that it needs did not complete."""
    JOB_OVER = "job_over"
    """Its job ended before it could run."""
    NO_MANAGER = "no_manager"
    """Nobody is there who starts tasks."""
    DRAINING = "draining"
    """The manager starts nothing more."""
    DEPENDENCIES = "dependencies"
    """Tasks that it needs have not completed yet."""
    RETRY_PAUSE = "retry_pause"
    """It failed and waits until it may run again."""
    MAX_PARALLEL = "max_parallel"
    """As many tasks of its job run as may."""
    NO_SLOT = "no_slot"
    """As many tasks of all jobs run as may."""
    READY = "ready"
    """Nothing holds it."""


class Reason(NamedTuple):
    """One thing that holds a task, or where it is."""

    cause: Cause
    text: str
    remedy: str | None = None
    """What a person can do about it."""


class TaskFacts(Protocol):
    """What is known of a task; a record of tasks.json has all of it."""

    @property
    def id(self) -> str:
        """Its id."""
        ...

    @property
    def dependencies(self) -> tuple[str, ...]:
        """Ids of the tasks that it needs."""
        ...

    @property
    def status(self) -> TaskStatus:
        """Its status."""
        ...

    @property
    def priority(self) -> int:
        """Higher starts first within the job."""
        ...

    @property
    def retries(self) -> int:
        """How often it may be started anew."""
        ...

    @property
    def attempt(self) -> int:
        """Number of its newest attempt."""
        ...

    @property
    def started_at(self) -> datetime | None:
        """Start of its newest attempt."""
        ...

    @property
    def completed_at(self) -> datetime | None:
        """When it was over."""
        ...

    @property
    def retry_at(self) -> datetime | None:
        """When its next attempt may start."""
        ...

    @property
    def error(self) -> str | None:
        """Why it failed."""
        ...


class JobFacts(NamedTuple):
    """What is known of a job."""

    state: JobState
    error: str | None = None
    max_parallel: int | None = None


class ManagerFacts(NamedTuple):
    """What is known of the manager that runs."""

    slots: int | None = None
    """None: it has not told yet."""
    running: int = 0
    is_draining: bool = False


def explain_task(
    task: TaskFacts, tasks: Mapping[str, TaskFacts], job: JobFacts, manager: ManagerFacts | None, now: datetime
) -> list[Reason]:
    """Return what holds a task, the strongest first, or where it is if nothing does.

    :param tasks: all tasks of its job by id, in the job's order.
    :param manager: None if none runs.
    :param now: aware.
    """
    if task.status is not TaskStatus.PENDING:
        return [_where_it_is(task, tasks, job)]
    if job.state.is_terminal:
        why = f": {_first_line(job.error)}" if job.error else ""
        return [Reason(Cause.JOB_OVER, f"its job is {job.state.value}{why}")]
    reasons = list(_hindrances(task, tasks, job, manager, now))
    return reasons or [_ready(task, tasks, manager)]


def _where_it_is(task: TaskFacts, tasks: Mapping[str, TaskFacts], job: JobFacts) -> Reason:
    if task.status is TaskStatus.RUNNING:
        since = f", since {task.started_at:%Y-%m-%dT%H:%M:%SZ}" if task.started_at else ""
        return Reason(Cause.RUNNING, f"it runs: attempt {task.attempt}{since}")
    if task.status is TaskStatus.COMPLETED:
        return Reason(Cause.COMPLETED, f"it completed in attempt {task.attempt}")
    if task.status is TaskStatus.FAILED:
        retries = f" of {task.retries + 1}" if task.retries else ""
        text = f"attempt {task.attempt}{retries} failed: {task.error or 'no cause is recorded'}"
        return Reason(Cause.FAILED, text, "run it again with `air-executor retry`")
    if task.status is TaskStatus.SKIPPED:
        return _skipped(task, tasks)
    why = _first_line(task.error or job.error) or "its job was cancelled, or failed fast"
    text = f"it was cancelled {'while it ran' if task.attempt else 'before it started'}: {why}"
    return Reason(Cause.CANCELLED, text, "run it again with `air-executor retry`")


def _skipped(task: TaskFacts, tasks: Mapping[str, TaskFacts]) -> Reason:
    """Name the way to the task that did not complete, not only the neighbour that was skipped as well."""
    path = [task.id]
    current: TaskFacts | None = task
    while current is not None and current.status is TaskStatus.SKIPPED:
        broken = (tasks[name] for name in current.dependencies if name in tasks)
        current = next((each for each in broken if _is_broken(each) and each.id not in path), None)
        if current is not None:
            path.append(current.id)
    if current is None:
        return Reason(Cause.SKIPPED, task.error or "a task that it needs did not complete")
    via = f" (by way of {', '.join(path[1:-1])})" if len(path) > 2 else ""
    why = f": {_first_line(current.error)}" if current.error else ""
    text = f"it was skipped, because it needs {current.id}{via}, which is {current.status.value}{why}"
    return Reason(Cause.SKIPPED, text, f"once {current.id} can complete, run both again with `air-executor retry`")


def _hindrances(
    task: TaskFacts, tasks: Mapping[str, TaskFacts], job: JobFacts, manager: ManagerFacts | None, now: datetime
) -> Iterable[Reason]:
    if manager is None:
        yield Reason(
            Cause.NO_MANAGER, "no manager runs on this base path", "start one with `air-executor manager start`"
        )
    elif manager.is_draining:
        yield Reason(
            Cause.DRAINING,
            "the manager drains: it starts nothing and stops when what runs has ended",
            "start the next one then with `air-executor manager start`",
        )
    unmet = [name for name in task.dependencies if name not in tasks or tasks[name].status is not TaskStatus.COMPLETED]
    if unmet:
        yield Reason(Cause.DEPENDENCIES, f"it waits for {_named(unmet, tasks)}")
    if task.retry_at is not None and task.retry_at > now:
        left_s = (task.retry_at - now).total_seconds()
        text = f"attempt {task.attempt} failed ({_first_line(task.error) or 'no cause is recorded'}); "
        yield Reason(Cause.RETRY_PAUSE, f"{text}the next starts in {left_s:.0f} s, at {task.retry_at:%H:%M:%S} UTC")
    if unmet:
        # What follows holds only tasks that could start otherwise.
        return
    running = sum(each.status is TaskStatus.RUNNING for each in tasks.values())
    if job.max_parallel is not None and running >= job.max_parallel:
        yield Reason(
            Cause.MAX_PARALLEL,
            f"{running} of its job's tasks run, and no more than {job.max_parallel} may (max_parallel){_before(task, tasks)}",
        )
    if manager is not None and manager.slots is not None and manager.running >= manager.slots:
        yield Reason(
            Cause.NO_SLOT,
            f"all {manager.slots} slots of the manager are in use{_before(task, tasks)}",
            "give it more slots: settings.json, then `air-executor manager reload`",
        )


def _ready(task: TaskFacts, tasks: Mapping[str, TaskFacts], manager: ManagerFacts | None) -> Reason:
    unknown = " (the manager has not told yet how many slots it uses)" if manager and manager.slots is None else ""
    return Reason(
        Cause.READY, f"nothing holds it: it starts as soon as the manager gets to it{_before(task, tasks)}{unknown}"
    )


def _before(task: TaskFacts, tasks: Mapping[str, TaskFacts]) -> str:
    """Say how many tasks of the job start before this one: of higher priority, or as high and earlier."""
    before = 0
    is_earlier = True
    for each in tasks.values():
        if each.id == task.id:
            is_earlier = False
        elif each.status is TaskStatus.PENDING and each.retry_at is None and _is_met(each, tasks):
            before += each.priority > task.priority or (each.priority == task.priority and is_earlier)
    if not before:
        return ""
    return f"; {before} task{'s' if before > 1 else ''} of its job come{'' if before > 1 else 's'} first"


def _is_met(task: TaskFacts, tasks: Mapping[str, TaskFacts]) -> bool:
    return all(name in tasks and tasks[name].status is TaskStatus.COMPLETED for name in task.dependencies)


def _is_broken(task: TaskFacts) -> bool:
    return task.status.is_terminal and task.status is not TaskStatus.COMPLETED


def _named(names: list[str], tasks: Mapping[str, TaskFacts]) -> str:
    shown = [
        f"{name} ({tasks[name].status.value if name in tasks else 'not queued yet'})" for name in names[:_MOST_NAMED]
    ]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _first_line(text: str | None) -> str:
    return (text or "").partition("; last lines:")[0].partition("\n")[0]
