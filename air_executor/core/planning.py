"""What is to be done next: pure decisions over all jobs. Instants are monotonic seconds, handed in by the caller."""

from __future__ import annotations

import heapq
from typing import NamedTuple
from weakref import WeakSet

from air_executor.core.events import Outcome
from air_executor.core.job import Job


class StartTask(NamedTuple):
    """Launch this attempt."""

    job: Job
    task_id: str
    attempt: int


class StopTask(NamedTuple):
    """End the process tree of this attempt, and record `cause` as its outcome."""

    job: Job
    task_id: str
    attempt: int
    cause: Outcome


class FinishJob(NamedTuple):
    """Nothing is left to run: look for what is queued and not yet read, else record the job's end."""

    job: Job


Action = StartTask | StopTask | FinishJob


class _Share:
    """The slots of one kind of jobs, and the jobs of that kind with tasks that could start."""

    def __init__(self) -> None:
        self.running = 0
        """Attempts that hold a slot."""
        self.queue: list[tuple[int, int, str]] = []
        self.queued: dict[str, Job] = {}


class Planner:
    """Shares the slots among jobs: by priority, then in turns, so that no large job starves a small one.

    Jobs that an executor announced have as many slots again, of their own: a task instance that waits for a job which it
    handed over must not hold what that job needs, nor may such a job keep task instances from starting.

    Whoever changes a job tells the planner by `reconsider`; `plan` then costs by what changed, not by what there is.
    """

    def __init__(self, slots: int) -> None:
        self.slots = slots
        """How many attempts run at once of an executor's jobs, and how many of all others."""
        self.is_draining = False
        """While true, nothing is started."""
        self._turn = 0
        self._shares = {is_announced: _Share() for is_announced in (True, False)}
        self._dirty: dict[str, Job] = {}
        self._timers: list[tuple[float, int, _Timer]] = []
        self._timer_number = 0
        self._forgotten: WeakSet[Job] = WeakSet()
        """Jobs that attempts and timers may still name."""

    def reconsider(self, job: Job) -> None:
        """Look at this job again in the next `plan`."""
        if job not in self._forgotten:
            self._dirty[job.name] = job

    def running(self, *, is_announced: bool) -> int:
        """Return how many attempts hold a slot, of an executor's jobs or of all others."""
        return self._shares[is_announced].running

    def launched(self, job: Job) -> None:
        """Count a slot that an attempt of `job` holds."""
        self._share(job).running += 1

    def ended(self, job: Job) -> None:
        """Free the slot that an attempt of `job` held."""
        self._share(job).running -= 1
        self.reconsider(job)

    def set_timeout(self, job: Job, task_id: str, attempt: int, due: float) -> None:
        """Stop this attempt at `due` if it still runs."""
        self._set_timer(due, _Timer(job, task_id, attempt))

    def set_retry(self, job: Job, task_id: str, due: float) -> None:
        """Make this task ready at `due`."""
        self._set_timer(due, _Timer(job, task_id, None))

    def next_due(self) -> float | None:
        """Return when `plan` must be called even if nothing else happens."""
        return self._timers[0][0] if self._timers else None

    def forget(self, job: Job) -> None:
        """Drop a job that has finished or is gone; nothing of it is planned any more."""
        self._forgotten.add(job)
        for jobs in (self._dirty, self._share(job).queued):
            # By now its name may be that of another job.
            if jobs.get(job.name) is job:
                del jobs[job.name]

    def plan(self, now: float) -> list[Action]:
        """Return what to do now, most urgent first.

        Every StartTask is handed out once: the caller applies TaskLaunched to the job.
        """
        actions: list[Action] = []
        self._fire_timers(now, actions)
        for job in self._dirty.values():
            if job.is_done or job.orphans():
                actions.append(FinishJob(job))
            elif job.is_stopping:
                actions.extend(
                    StopTask(job, name, job.tasks[name].attempt, Outcome.CANCELLED) for name in sorted(job.running)
                )
            elif job.has_ready:
                self._enqueue(job)
        self._dirty.clear()
        if not self.is_draining:
            for share in self._shares.values():
                self._start(share, actions)
        return actions

    def _fire_timers(self, now: float, actions: list[Action]) -> None:
        while self._timers and self._timers[0][0] <= now:
            timer = heapq.heappop(self._timers)[2]
            if timer.job in self._forgotten:
                continue
            task = timer.job.tasks.get(timer.task_id)
            if timer.attempt is None:
                timer.job.end_delay(timer.task_id)
                self.reconsider(timer.job)
            elif task is not None and timer.task_id in timer.job.running and task.attempt == timer.attempt:
                actions.append(StopTask(timer.job, timer.task_id, timer.attempt, Outcome.TIMED_OUT))

    def _start(self, share: _Share, actions: list[Action]) -> None:
        claimed: dict[str, int] = {}
        free = self.slots - share.running
        while free > 0 and share.queue:
            _, _, name = heapq.heappop(share.queue)
            job = share.queued.pop(name, None)
            if job is None or not job.has_ready:
                continue
            limit = job.options.max_parallel
            if limit is not None and len(job.running) + claimed.get(name, 0) >= limit:
                continue  # `ended` brings the job back.
            task = job.take_ready()
            if task is None:
                continue
            actions.append(StartTask(job, task.spec.id, task.attempt + 1))
            claimed[name] = claimed.get(name, 0) + 1
            free -= 1
            self._turn += 1
            self._enqueue(job)

    def _enqueue(self, job: Job) -> None:
        share = self._share(job)
        if job.name not in share.queued:
            share.queued[job.name] = job
            heapq.heappush(share.queue, (-job.options.priority, self._turn, job.name))

    def _share(self, job: Job) -> _Share:
        return self._shares[job.options.announce]

    def _set_timer(self, due: float, timer: _Timer) -> None:
        self._timer_number += 1
        heapq.heappush(self._timers, (due, self._timer_number, timer))


class _Timer(NamedTuple):
    job: Job
    task_id: str
    attempt: int | None
    """None: the end of a delay; else the attempt whose time is over."""
