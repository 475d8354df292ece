"""Random jobs driven through Job and Planner end as a simple oracle says, also when the manager is killed in between."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from air_executor.core.events import (
    AnyEvent,
    Event,
    JobAccepted,
    JobCancelled,
    JobFinished,
    LaunchVoided,
    Outcome,
    TaskEnded,
    TaskLaunched,
    TasksQueued,
    TasksReset,
)
from air_executor.core.job import Job
from air_executor.core.planning import FinishJob, Planner, StartTask, StopTask
from air_executor.core.retry import next_attempt_at, retry_delay_s
from air_executor.core.snapshot import snapshot
from air_executor.core.specs import JobOptions, TaskSpec
from air_executor.core.states import JobState, TaskStatus
from air_executor.errors import InvalidJobError
from tests.support.jobs import T0, at

FAILURES = [Outcome.FAILED, Outcome.LOST, Outcome.TIMED_OUT, Outcome.OUT_OF_MEMORY, Outcome.NOT_STARTED]


@dataclass
class Plan:
    """What is going to happen: the tasks, what each attempt of one comes to, and which tasks a task queues."""

    tasks: list[TaskSpec] = field(default_factory=list)
    outcomes: dict[str, list[Outcome]] = field(default_factory=dict)
    children: dict[str, list[TaskSpec]] = field(default_factory=dict)
    options: JobOptions = field(default_factory=JobOptions)
    slots: int = 1

    def spec(self, task_id: str) -> TaskSpec:
        return next(each for each in self.all_tasks() if each.id == task_id)

    def all_tasks(self) -> list[TaskSpec]:
        return [*self.tasks, *(each for group in self.children.values() for each in group)]


@st.composite
def plans(draw: st.DrawFn, *, with_stops: bool = False) -> Plan:
    size = draw(st.integers(1, 10))
    plan = Plan(slots=draw(st.integers(1, 4)))

    def new_task(task_id: str, possible: list[str]) -> TaskSpec:
        retries = draw(st.integers(0, 2))
        plan.outcomes[task_id] = draw(
            st.lists(st.sampled_from([Outcome.COMPLETED, *FAILURES]), min_size=retries + 1, max_size=retries + 1)
        )
        dependencies = draw(st.lists(st.sampled_from(possible), max_size=3)) if possible else []
        return TaskSpec(
            id=task_id,
            command="true",
            dependencies=tuple(dependencies),
            retries=retries,
            retry_delay_s=draw(st.sampled_from([0.0, 3.0])),
            priority=draw(st.integers(-1, 1)),
        )

    names = [f"t{n}" for n in range(size)]
    plan.tasks = [new_task(name, names[:n]) for n, name in enumerate(names)]
    draw(st.randoms(use_true_random=False)).shuffle(plan.tasks)
    for parent in draw(st.lists(st.sampled_from(names), max_size=3, unique=True)):
        group: list[TaskSpec] = []
        for n in range(draw(st.integers(1, 3))):
            group.append(new_task(f"{parent}.{n}", [*names, *(each.id for each in group)]))
        plan.children[parent] = group
    plan.options = JobOptions(
        max_parallel=draw(st.none() | st.integers(1, 3)),
        tolerated_failures=draw(st.integers(0, 2)),
        fail_fast=with_stops and draw(st.booleans()),
    )
    return plan


def expected_statuses(plan: Plan) -> dict[str, str]:
    """Say how every task ends, from nothing but the plan."""
    known: dict[str, str] = {}

    def status(spec: TaskSpec) -> str:
        if spec.id not in known:
            met = all(status(plan.spec(name)) == "completed" for name in spec.dependencies)
            succeeds = Outcome.COMPLETED in plan.outcomes[spec.id]
            known[spec.id] = "skipped" if not met else "completed" if succeeds else "failed"
        return known[spec.id]

    ends = {spec.id: status(spec) for spec in plan.tasks}
    for parent, group in plan.children.items():
        if ends[parent] != "skipped":
            ends.update({spec.id: status(spec) for spec in group})
    return ends


class Engine:
    """A manager without processes: journal in memory, time that passes when nothing else can happen."""

    def __init__(self, plan: Plan, choose: Callable[[int], int], *, ends_slowly: bool = False) -> None:
        self.plan = plan
        self.choose = choose
        self.ends_slowly = ends_slowly
        """What is to end lives on for a while, as a task that ignores SIGTERM."""
        self.now = 0.0
        self.journal: list[Event] = []
        self.live: dict[tuple[str, int], Job] = {}
        """Attempts that have a process, which outlive the manager."""
        self.stopped: dict[tuple[str, int], Outcome] = {}
        """Why attempts are being ended, as long as their manager lives."""
        self.starts: list[tuple[str, int]] = []
        accepted = JobAccepted(at=T0, id="i", name="j", created_at=T0, options=plan.options)
        self.job = Job(accepted)
        self.journal.append(accepted)
        self.planner = Planner(plan.slots)
        self.record(TasksQueued(at=T0, tasks=tuple(plan.tasks)))

    def record(self, *events: Event) -> None:
        for event in events:
            self.job.apply(event)
            self.journal.append(event)
        self.planner.reconsider(self.job)

    def restart(self) -> None:
        """Forget everything but the journal and the processes."""
        self.stopped.clear()
        self.job = replayed(self.journal)
        self.planner = Planner(self.plan.slots)
        for task_id in sorted(self.job.running):
            self.planner.launched(self.job)
            number = self.job.tasks[task_id].attempt
            if (task_id, number) not in self.live:
                self.record(LaunchVoided(at=at(self.now), task=task_id, attempt=number))
                self.planner.ended(self.job)
        for task_id in self.job.delayed:
            retry_at = self.job.tasks[task_id].retry_at
            assert retry_at is not None
            self.planner.set_retry(self.job, task_id, (retry_at - T0).total_seconds())
        self.planner.reconsider(self.job)

    def step(self) -> bool:
        """Plan, then let one thing happen; False once the job has finished."""
        for action in self.planner.plan(self.now):
            if isinstance(action, StartTask):
                self.start(action)
            elif isinstance(action, StopTask):
                self.stop((action.task_id, action.attempt), action.cause)
            else:
                assert isinstance(action, FinishJob)
                self.finish()
        self.check()
        if self.job.state.is_terminal:
            return False
        if self.live:
            attempt = sorted(self.live)[self.choose(len(self.live))]
            if attempt not in self.stopped or self.choose(2):
                self.end(attempt)
        elif (due := self.planner.next_due()) is not None:
            self.now = max(self.now, due)
        return True

    def start(self, action: StartTask) -> None:
        spec = self.job.tasks[action.task_id].spec
        assert all(self.job.tasks[name].status is TaskStatus.COMPLETED for name in spec.dependencies)
        assert not any(task_id == action.task_id for task_id, _ in self.live)
        self.record(TaskLaunched(at=at(self.now), task=action.task_id, attempt=action.attempt))
        self.planner.launched(self.job)
        # A manager may be killed between record and process: then the attempt never starts.
        if self.choose(8) == 0:
            self.restart()
            return
        self.live[action.task_id, action.attempt] = self.job
        self.starts.append((action.task_id, action.attempt))

    def stop(self, attempt: tuple[str, int], cause: Outcome) -> None:
        if self.ends_slowly and self.choose(3):
            self.stopped.setdefault(attempt, cause)
        else:
            self.end(attempt, cause)

    def retry(self) -> None:
        """Ask for everything again that ended without completing; a job that was over is read anew."""
        job = replayed(self.journal) if self.job.state.is_terminal else self.job
        try:
            tasks = job.tasks_to_reset(None)
        except InvalidJobError:
            assert job.is_stopping
            return
        if tasks:
            self.job = job
            self.record(TasksReset(at=at(self.now), tasks=tasks))

    def end(self, attempt: tuple[str, int], cause: Outcome | None = None) -> None:
        del self.live[attempt]
        cause = self.stopped.pop(attempt, cause)
        task = self.job.tasks[attempt[0]]
        if attempt[0] in self.plan.children:
            # Every attempt queues its children anew; those that are there already add nothing.
            new = self.job.new_tasks(tuple(self.plan.children[attempt[0]]))
            if new:
                self.record(TasksQueued(at=at(self.now), tasks=new))
        outcome = cause or self.plan.outcomes[attempt[0]][task.failures]
        retry_at = next_attempt_at(task.spec, outcome, task.failures + 1, at(self.now))
        self.record(
            TaskEnded(
                at=at(self.now), task=attempt[0], attempt=attempt[1], outcome=outcome, error="e", retry_at=retry_at
            )
        )
        self.planner.ended(self.job)
        if retry_at is not None and attempt[0] in self.job.delayed:
            self.planner.set_retry(self.job, attempt[0], self.now + retry_delay_s(task.spec, task.failures))

    def finish(self) -> None:
        state, error = self.job.outcome_state()
        self.record(JobFinished(at=at(self.now), state=state, error=error))
        self.planner.forget(self.job)

    def check(self) -> None:
        running = self.job.running
        assert running == {task_id for task_id, _ in self.live}
        assert len(running) == self.planner.running(is_announced=False) <= self.plan.slots
        limit = self.plan.options.max_parallel
        assert limit is None or len(running) <= limit
        counted = dict.fromkeys(TaskStatus, 0)
        for task in self.job.tasks.values():
            counted[task.status] += 1
        assert counted == self.job.counts

    def run(self) -> None:
        for _ in range(2000):
            if self.choose(10) == 0:
                self.restart()
            if not self.step():
                return
        raise AssertionError(f"the job does not end: {self.job.counts}")


def replayed(events: list[Event]) -> Job:
    """Return the job that the events tell of, after a way through JSON as in a journal."""
    lines = [msgspec.json.encode(event) for event in events]
    read = [msgspec.json.decode(line, type=AnyEvent) for line in lines]
    assert read == events
    job = Job(read[0])
    for event in read[1:]:
        job.apply(event)
    return job


def content(job: Job) -> dict[str, object]:
    """Return all that a job knows and shows."""
    hidden = {"_ready", "_listed", "_dependants"}
    return {name: value for name, value in vars(job).items() if name not in hidden}


@given(plans(), st.integers(0, 2**32))
def test_random_jobs_end_as_the_oracle_says(plan: Plan, seed: int) -> None:
    engine = Engine(plan, random.Random(seed).randrange)
    engine.run()
    expected = expected_statuses(plan)
    assert {name: task.status.value for name, task in engine.job.tasks.items()} == expected
    failed = sum(status == "failed" for status in expected.values())
    assert engine.job.state is (JobState.FAILED if failed > plan.options.tolerated_failures else JobState.COMPLETED)
    assert len(engine.starts) == len(set(engine.starts))
    for name in expected:
        tried = plan.outcomes[name]
        needed = tried.index(Outcome.COMPLETED) + 1 if Outcome.COMPLETED in tried else len(tried)
        starts = [number for task_id, number in engine.starts if task_id == name]
        assert len(starts) == (0 if expected[name] == "skipped" else needed)
        assert starts == sorted(starts)


@given(plans(with_stops=True), st.integers(0, 2**32))
def test_replaying_the_events_gives_the_same_job(plan: Plan, seed: int) -> None:
    engine = Engine(plan, random.Random(seed).randrange)
    engine.run()
    assert content(replayed(engine.journal)) == content(engine.job)
    for length in range(2, len(engine.journal)):
        # A manager may be killed after any record: what follows still fits.
        job = replayed(engine.journal[:length])
        for event in engine.journal[length:]:
            job.apply(event)
        assert content(job) == content(engine.job)


@given(plans(with_stops=True), st.integers(0, 40), st.integers(0, 2**32))
def test_a_compacted_journal_gives_the_same_job(plan: Plan, after: int, seed: int) -> None:
    engine = Engine(plan, random.Random(seed).randrange)
    for _ in range(after):
        if not engine.step():
            break
    assert content(replayed(list(snapshot(engine.job)))) == content(engine.job)


@given(plans(with_stops=True), st.integers(0, 20), st.integers(0, 2**32))
def test_a_cancelled_job_ends_and_nothing_of_it_waits_or_runs(plan: Plan, after: int, seed: int) -> None:
    engine = Engine(plan, random.Random(seed).randrange)
    for _ in range(after):
        if not engine.step():
            return
    engine.record(JobCancelled(at=at(engine.now), reason="why"))
    starts = len(engine.starts)
    while engine.step():
        pass
    assert len(engine.starts) == starts
    assert (engine.job.state, engine.job.error) == (JobState.CANCELLED, "why")
    assert all(task.status.is_terminal for task in engine.job.tasks.values())


@given(plans(with_stops=True), st.integers(0, 2**32))
def test_a_job_that_fails_fast_ends_and_says_so(plan: Plan, seed: int) -> None:
    engine = Engine(plan, random.Random(seed).randrange)
    engine.run()
    failed = engine.job.counts[TaskStatus.FAILED]
    assert engine.job.state is (JobState.FAILED if failed > plan.options.tolerated_failures else JobState.COMPLETED)
    if engine.job.state is JobState.COMPLETED:
        assert engine.job.counts[TaskStatus.CANCELLED] == 0
    assert all(task.status.is_terminal for task in engine.job.tasks.values())


DEEDS = st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["cancel", "retry", "restart"])), max_size=8)


@given(plans(with_stops=True), DEEDS, st.integers(0, 2**32))
def test_a_job_that_is_cancelled_and_retried_at_any_time_ends(
    plan: Plan, deeds: list[tuple[int, str]], seed: int
) -> None:
    engine = Engine(plan, random.Random(seed).randrange, ends_slowly=True)
    for steps, deed in deeds:
        for _ in range(steps):
            if not engine.step():
                break
        if deed == "retry":
            engine.retry()
        elif not engine.job.state.is_terminal:
            if deed == "cancel":
                engine.record(JobCancelled(at=at(engine.now), reason="why"))
            else:
                engine.restart()
    if not engine.job.state.is_terminal:
        engine.run()
    assert all(task.status.is_terminal for task in engine.job.tasks.values())
    assert len(engine.starts) == len(set(engine.starts))
    if engine.job.state is JobState.COMPLETED:
        assert engine.job.counts[TaskStatus.CANCELLED] == 0
    assert content(replayed(engine.journal)) == content(engine.job)
    compacted = list(snapshot(engine.job))
    assert content(replayed(compacted)) == content(engine.job)
