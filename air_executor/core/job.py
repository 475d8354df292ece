"""A job in memory: how each event changes it and its tasks. The same code serves the live manager and the replay."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import singledispatchmethod

from air_executor.core.events import (
    Event,
    JobAccepted,
    JobCancelled,
    JobClosed,
    JobFinished,
    LaunchVoided,
    Outcome,
    TaskEnded,
    TaskLaunched,
    TaskRestored,
    TasksOrphaned,
    TasksQueued,
    TasksReset,
    ViewWritten,
)
from air_executor.core.graph import check_acyclic
from air_executor.core.ready_tasks import ReadyTasks
from air_executor.core.specs import TaskSpec, check_tasks
from air_executor.core.states import TASK_TRANSITIONS, JobState, TaskStatus
from air_executor.core.task import TASK_STATE_FIELDS, Task
from air_executor.errors import InvalidJobError, InvalidTransitionError, TaskConflictError

_VIEWS_KNOWN = 16


class Job:
    """All that is known of one job, changed by `apply` alone."""

    def __init__(self, accepted: JobAccepted) -> None:
        self.id = accepted.id
        self.name = accepted.name
        self.created_at = accepted.created_at
        self.updated_at = accepted.at
        self.options = accepted.options
        self.labels = accepted.labels
        self.tasks: dict[str, Task] = {}
        self.counts: dict[TaskStatus, int] = dict.fromkeys(TaskStatus, 0)
        self.running: set[str] = set()
        self.delayed: set[str] = set()
        """Pending tasks that wait for `retry_at`."""
        self.state = JobState.WAITING
        self.error: str | None = None
        self.cancel_reason: str | None = None
        """Set once somebody cancelled the job; may be empty."""
        self.is_unusable = False
        """The cancellation counts as a failure."""
        self.has_failed_fast = False
        self.is_open = accepted.options.is_open
        self.view_identities: dict[tuple[int, int], None] = {}
        """(inode, mtime in ns) of the views that the manager wrote or accepted last, oldest first."""
        self._ready = ReadyTasks()
        self._dependants: dict[str, list[str]] = {}

    @property
    def is_stopping(self) -> bool:
        """Claim that nothing of the job may start any more and what runs is to be ended."""
        return self.cancel_reason is not None or self.has_failed_fast

    @property
    def is_done(self) -> bool:
        """Claim that no task is left to run; the job is finished once nothing unread is found either."""
        has_work = self.counts[TaskStatus.PENDING] or self.counts[TaskStatus.RUNNING]
        return not has_work and (not self.is_open or self.is_stopping)

    @property
    def has_ready(self) -> bool:
        """Claim that a task could start now, slots and `max_parallel` permitting."""
        return bool(self._ready) and not self.is_stopping

    def take_ready(self) -> Task | None:
        """Return the next task to start and forget it as ready; whoever takes it launches it."""
        return self._ready.take()

    def end_delay(self, task_id: str) -> None:
        """Make a task ready whose pause before a retry is over."""
        task = self.tasks[task_id]
        if task_id in self.delayed and task.status is TaskStatus.PENDING:
            self.delayed.discard(task_id)
            task.retry_at = None
            self._ready.add(task)

    def new_tasks(self, tasks: tuple[TaskSpec, ...]) -> tuple[TaskSpec, ...]:
        """Return those of `tasks` that the job does not have, after checking them.

        Queuing the same task again adds nothing, so that a retried task may queue its children anew.

        They may depend on tasks that somebody else queues later; `orphans` are those that wait in vain.

        :raises TaskConflictError: an id exists with another command.
        :raises DependencyError: the dependencies, also those of tasks that waited for these, form a cycle.
        :raises InvalidJobError: see `check_tasks`.
        """
        check_tasks(tasks)
        for task in tasks:
            known = self.tasks.get(task.id)
            if known is not None and (known.spec.command, known.spec.args) != (task.command, task.args):
                raise TaskConflictError(
                    f"job {self.name} has a task {task.id!r} with another command "
                    f"({_shown(known.spec)}, not {_shown(task)}): choose another id"
                )
        new = tuple(task for task in tasks if task.id not in self.tasks)
        # Known tasks can be part of a cycle only if one of them has waited for a new one.
        waiting: list[TaskSpec] = []
        if any(task.id in self._dependants for task in new):
            waiting = [task.spec for task in self.tasks.values() if task.unmet]
        check_acyclic([*new, *waiting])
        return new

    def orphans(self) -> tuple[str, ...]:
        """Return the tasks that wait for one which nobody has queued, if nothing is left that could queue it."""
        if not self.counts[TaskStatus.PENDING] or self.running or self.delayed or self.is_open:
            return ()
        if self._ready.any_left():
            return ()
        return tuple(
            task.spec.id
            for task in self.tasks.values()
            if task.status is TaskStatus.PENDING and not self.tasks.keys() >= set(task.spec.dependencies)
        )

    def tasks_to_reset(self, wanted: Sequence[str] | None) -> tuple[str, ...]:
        """Return the tasks that have to run again if the wanted ones do: those, and what was skipped because of them.

        :param wanted: None for all that ended without completing.
        A wanted task that waits or runs anyway adds nothing, so that asking twice is asking once.

        :raises InvalidJobError: a wanted task does not exist or has completed, or the job is still being stopped.
        """
        if self.is_stopping and self.running:
            raise InvalidJobError(f"job {self.name} is still ending its tasks: retry it when it is over")
        chosen = set(self.tasks if wanted is None else wanted)
        for task_id in chosen if wanted is not None else ():
            task = self.tasks.get(task_id)
            if task is None:
                raise InvalidJobError(f"job {self.name} has no task {task_id!r}")
            if task.status is TaskStatus.COMPLETED:
                raise InvalidJobError(f"job {self.name}: task {task_id!r} is completed, it cannot be retried")
        # Tasks come after what they depend on, unless somebody queued them in another order; then another round finds them.
        found = True
        while found and wanted is not None:
            skipped = {
                name
                for name, task in self.tasks.items()
                if task.status is TaskStatus.SKIPPED and not chosen.isdisjoint(task.spec.dependencies)
            }
            found = not skipped <= chosen
            chosen |= skipped
        return tuple(name for name, task in self.tasks.items() if name in chosen and task.will_never_complete)

    def outcome_state(self) -> tuple[JobState, str | None]:
        """Return the terminal state that the tasks add up to, and why it is not `completed`."""
        failed = self.counts[TaskStatus.FAILED]
        if self.cancel_reason is not None:
            return JobState.FAILED if self.is_unusable else JobState.CANCELLED, self.cancel_reason or None
        if failed > self.options.tolerated_failures:
            first = next(task for task in self.tasks.values() if task.status is TaskStatus.FAILED)
            more = f" (and {failed - 1} more)" if failed > 1 else ""
            return JobState.FAILED, f"task {first.spec.id} failed: {first.error}{more}"
        return JobState.COMPLETED, None

    @singledispatchmethod
    def apply(self, event: Event) -> None:
        """Change the job by what happened.

        :raises InvalidTransitionError: the event cannot follow on the job's state.
        """
        raise InvalidTransitionError(f"job {self.name}: unknown event {type(event).__name__}")

    @apply.register
    def _accepted(self, event: JobAccepted) -> None:
        raise InvalidTransitionError(f"job {self.name} was accepted twice, the second time at {event.at}")

    @apply.register
    def _queued(self, event: TasksQueued) -> None:
        for spec in event.tasks:
            if spec.id in self.tasks:
                raise InvalidTransitionError(f"job {self.name}: task {spec.id!r} was queued twice")
            task = Task(spec=spec, order=len(self.tasks), created_at=event.at)
            self.tasks[spec.id] = task
            self.counts[TaskStatus.PENDING] += 1
        for spec in event.tasks:
            self._connect(self.tasks[spec.id], event.at)
        self._touch(event.at)

    @apply.register
    def _restored(self, event: TaskRestored) -> None:
        task = self._task(event.task)
        self._move(task, event.status, event.at, check=False)
        if (event.attempt or event.status in _STARTED) and self.state is JobState.WAITING:
            self.state = JobState.WORKING
        for field in TASK_STATE_FIELDS:
            setattr(task, field, getattr(event, field))
        if task.retry_at is not None:
            self.delayed.add(event.task)
        self._release_dependants(task, event.at)
        self._fail_fast(event.at)

    @apply.register
    def _launched(self, event: TaskLaunched) -> None:
        task = self._task(event.task)
        self._move(task, TaskStatus.RUNNING, event.at)
        task.attempt = event.attempt
        task.started_at, task.completed_at, task.retry_at = event.at, None, None
        task.exit_code = task.signal = task.outcome = task.cpu_s = task.peak_memory_bytes = None
        task.killed = ()
        self.delayed.discard(event.task)
        if self.state is JobState.WAITING:
            self.state = JobState.WORKING

    @apply.register
    def _voided(self, event: LaunchVoided) -> None:
        task = self._running_attempt(event.task, event.attempt)
        self._move(task, TaskStatus.CANCELLED if self.is_stopping else TaskStatus.PENDING, event.at)
        task.started_at = None
        if task.status is TaskStatus.PENDING:
            self._ready.add(task)
        else:
            task.completed_at = event.at

    @apply.register
    def _ended(self, event: TaskEnded) -> None:
        task = self._running_attempt(event.task, event.attempt)
        task.outcome, task.error = event.outcome, event.error
        task.started_at = event.started_at or task.started_at
        task.exit_code, task.signal, task.killed = event.exit_code, event.signal, event.killed
        task.cpu_s, task.peak_memory_bytes = event.cpu_s, event.peak_memory_bytes
        if event.outcome is Outcome.COMPLETED:
            task.completed_at = event.at
            self._move(task, TaskStatus.COMPLETED, event.at)
            self._release_dependants(task, event.at)
        elif event.outcome is Outcome.CANCELLED:
            task.completed_at = event.at
            self._move(task, TaskStatus.CANCELLED, event.at)
            self._skip_dependants(task, event.at)
        else:
            self._fail(task, event)

    @apply.register
    def _orphaned(self, event: TasksOrphaned) -> None:
        for task_id in event.tasks:
            task = self._task(task_id)
            missing = next((name for name in task.spec.dependencies if name not in self.tasks), None)
            self._move(task, TaskStatus.FAILED, event.at)
            task.completed_at = event.at
            task.error = f"never started: it depends on {missing!r}, which nobody has queued"
            self._skip_dependants(task, event.at)

    @apply.register
    def _reset(self, event: TasksReset) -> None:
        self.cancel_reason, self.is_unusable, self.has_failed_fast, self.error = None, False, False, None
        for task_id in event.tasks:
            task = self._task(task_id)
            self._move(task, TaskStatus.PENDING, event.at, check=False)
            task.failures = 0
            task.started_at = task.completed_at = task.retry_at = None
            task.error = task.outcome = task.exit_code = task.signal = None
        self.state = JobState.WORKING if any(task.attempt for task in self.tasks.values()) else JobState.WAITING
        self._connect_anew(event.at)

    @apply.register
    def _cancelled(self, event: JobCancelled) -> None:
        if self.cancel_reason is None:
            self.cancel_reason, self.is_unusable = event.reason, event.is_failure
            self._cancel_pending(event.at)
        self._touch(event.at)

    @apply.register
    def _closed(self, event: JobClosed) -> None:
        self.is_open = False
        self._touch(event.at)

    @apply.register
    def _finished(self, event: JobFinished) -> None:
        self.state, self.error = event.state, event.error
        self._touch(event.at)

    @apply.register
    def _view_written(self, event: ViewWritten) -> None:
        self.view_identities[event.inode, event.mtime_ns] = None
        if len(self.view_identities) > _VIEWS_KNOWN:
            # A kill leaves the newest or the one before in place; an older one was put back by somebody.
            del self.view_identities[next(iter(self.view_identities))]

    def _fail(self, task: Task, event: TaskEnded) -> None:
        task.failures += 1
        if event.retry_at is not None and not self.is_stopping:
            self._move(task, TaskStatus.PENDING, event.at)
            task.retry_at = event.retry_at
            self.delayed.add(task.spec.id)
            return
        task.completed_at = event.at
        self._move(task, TaskStatus.FAILED, event.at)
        self._skip_dependants(task, event.at)
        self._fail_fast(event.at)

    def _fail_fast(self, at: datetime) -> None:
        is_too_much = self.counts[TaskStatus.FAILED] > self.options.tolerated_failures
        if self.options.fail_fast and is_too_much and not self.has_failed_fast:
            self.has_failed_fast = True
            self._cancel_pending(at)

    def _connect(self, task: Task, at: datetime) -> None:
        for dependency_id in task.spec.dependencies:
            dependency = self.tasks.get(dependency_id)
            if dependency is None or dependency.status is not TaskStatus.COMPLETED:
                task.unmet += 1
                self._dependants.setdefault(dependency_id, []).append(task.spec.id)
        known = [self.tasks[name] for name in task.spec.dependencies if name in self.tasks]
        broken = [dependency.spec.id for dependency in known if dependency.will_never_complete]
        if self.is_stopping:
            self._move(task, TaskStatus.CANCELLED, at)
            task.completed_at = at
        elif broken and task.status is TaskStatus.PENDING:
            self._skip(task, broken[0], at)
            self._skip_dependants(task, at)
        elif task.unmet == 0 and task.retry_at is None:
            self._ready.add(task)

    def _connect_anew(self, at: datetime) -> None:
        self._ready.clear()
        self._dependants.clear()
        pending = [task for task in self.tasks.values() if task.status is TaskStatus.PENDING]
        for task in pending:
            task.unmet = 0
        for task in pending:
            if task.status is TaskStatus.PENDING:
                self._connect(task, at)

    def _release_dependants(self, task: Task, at: datetime) -> None:
        if task.status is TaskStatus.COMPLETED:
            for name in self._dependants.pop(task.spec.id, ()):
                dependant = self.tasks[name]
                dependant.unmet -= 1
                if dependant.unmet == 0 and dependant.status is TaskStatus.PENDING:
                    self._ready.add(dependant)
        elif task.will_never_complete:
            self._skip_dependants(task, at)

    def _skip_dependants(self, task: Task, at: datetime) -> None:
        # Iterative, as in check_order: chains may be long.
        stack = [task.spec.id]
        while stack:
            cause = stack.pop()
            for name in self._dependants.pop(cause, ()):
                dependant = self.tasks[name]
                if dependant.status is TaskStatus.PENDING:
                    self._skip(dependant, cause, at)
                    stack.append(name)

    def _skip(self, task: Task, cause: str, at: datetime) -> None:
        self._move(task, TaskStatus.SKIPPED, at)
        task.completed_at = at
        task.error = f"skipped: its dependency {cause} is {self.tasks[cause].status.value}"

    def _cancel_pending(self, at: datetime) -> None:
        for task in self.tasks.values():
            if task.status is TaskStatus.PENDING:
                self._move(task, TaskStatus.CANCELLED, at)
                task.completed_at, task.retry_at = at, None
        self._ready.clear()
        self.delayed.clear()

    def _move(self, task: Task, status: TaskStatus, at: datetime, *, check: bool = True) -> None:
        if check and status not in TASK_TRANSITIONS[task.status]:
            raise InvalidTransitionError(
                f"job {self.name}: task {task.spec.id!r} cannot go from {task.status.value} to {status.value}"
            )
        self.counts[task.status] -= 1
        self.counts[status] += 1
        if status is TaskStatus.RUNNING:
            self.running.add(task.spec.id)
        else:
            self.running.discard(task.spec.id)
        task.status = status
        self._touch(at)

    def _touch(self, at: datetime) -> None:
        # A clock that was set back must not make a job look older than it is.
        self.updated_at = max(self.updated_at, at)

    def _task(self, task_id: str) -> Task:
        try:
            return self.tasks[task_id]
        except KeyError:
            raise InvalidTransitionError(f"job {self.name} has no task {task_id!r}") from None

    def _running_attempt(self, task_id: str, attempt: int) -> Task:
        task = self._task(task_id)
        if task.status is not TaskStatus.RUNNING or task.attempt != attempt:
            raise InvalidTransitionError(
                f"job {self.name}: attempt {attempt} of task {task_id!r} does not run "
                f"(it is {task.status.value}, attempt {task.attempt})"
            )
        return task


_STARTED = frozenset({TaskStatus.RUNNING, TaskStatus.COMPLETED, TaskStatus.FAILED})


def _shown(spec: TaskSpec) -> str:
    return " ".join((spec.command, *spec.args))[:80]
