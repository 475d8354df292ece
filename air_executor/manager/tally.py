"""What the manager counts while it works: plain numbers that cost next to nothing, read by whoever shows metrics."""

from __future__ import annotations

from bisect import bisect_left

from air_executor.core.events import Event, JobFinished, LaunchVoided, Outcome, TaskEnded, TaskLaunched
from air_executor.core.job import Job
from air_executor.core.specs import RunnerKind
from air_executor.core.states import JobState
from air_executor.core.task import Task

KINDS: tuple[RunnerKind, ...] = ("command", "airflow")
_STEP_BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_START_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_WAIT_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)
_RUN_BOUNDS_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)


class Distribution:
    """How often seconds fell between which bounds."""

    def __init__(self, bounds_s: tuple[float, ...]) -> None:
        self.bounds_s = bounds_s
        """Upper bounds, each inclusive; one more count stands for what is above all of them."""
        self.counts = [0] * (len(bounds_s) + 1)
        self.sum_s = 0.0

    def observe(self, seconds: float) -> None:
        """Count one; a clock that was set back gives no negative time."""
        seconds = max(seconds, 0.0)
        self.counts[bisect_left(self.bounds_s, seconds)] += 1
        self.sum_s += seconds


class Tally:
    """Counts since the manager started; they begin at 0 with each manager."""

    def __init__(self) -> None:
        self.jobs_taken = 0
        self.jobs_ended = dict.fromkeys((state for state in JobState if state.is_terminal), 0)
        self.launches: dict[RunnerKind, int] = dict.fromkeys(KINDS, 0)
        self.launches_voided = 0
        self.attempts_ended = dict.fromkeys(Outcome, 0)
        self.retries = 0
        self.adoptions = 0
        self.server_starts: dict[RunnerKind, int] = dict.fromkeys(KINDS, 0)
        self.server_deaths: dict[RunnerKind, int] = dict.fromkeys(KINDS, 0)
        self.disk_errors = 0
        self.queue_wait = Distribution(_WAIT_BOUNDS_S)
        self.start_delay: dict[RunnerKind, Distribution] = {kind: Distribution(_START_BOUNDS_S) for kind in KINDS}
        self.run_time: dict[RunnerKind, Distribution] = {kind: Distribution(_RUN_BOUNDS_S) for kind in KINDS}
        self.journal_flush = Distribution(_STEP_BOUNDS_S)
        self.step = Distribution(_STEP_BOUNDS_S)

    def note_event(self, job: Job, event: Event) -> None:
        """Count what has just happened to a job."""
        if isinstance(event, TaskLaunched):
            task = job.tasks[event.task]
            self.launches[task.spec.runner] += 1
            if event.attempt == 1:
                self.queue_wait.observe(_waited_s(job, task, event))
        elif isinstance(event, TaskEnded):
            self.attempts_ended[event.outcome] += 1
            self.retries += event.retry_at is not None
            task = job.tasks[event.task]
            if task.started_at is not None and event.outcome is not Outcome.NOT_STARTED:
                self.run_time[task.spec.runner].observe((event.at - task.started_at).total_seconds())
        elif isinstance(event, LaunchVoided):
            self.launches_voided += 1
        elif isinstance(event, JobFinished):
            self.jobs_ended[event.state] += 1

    def note_start(self, task: Task, at: float) -> None:
        """Count that the runner of a task's newest attempt was started.

        :param at: seconds since the epoch.
        """
        if task.started_at is not None:
            self.start_delay[task.spec.runner].observe(at - task.started_at.timestamp())


def _waited_s(job: Job, task: Task, event: TaskLaunched) -> float:
    """Return for how long a task could have run already: since it was queued and what it depends on has completed."""
    ready_at = task.created_at
    for name in task.spec.dependencies:
        dependency = job.tasks.get(name)
        if dependency is not None and dependency.completed_at is not None:
            ready_at = max(ready_at, dependency.completed_at)
    return (event.at - ready_at).total_seconds()
