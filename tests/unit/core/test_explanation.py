from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple

from air_executor.core.explanation import Cause, JobFacts, ManagerFacts, Reason, explain_task
from air_executor.core.states import JobState, TaskStatus

NOW = datetime(2025, 10, 2, 7, 30, tzinfo=timezone.utc)
IDLE = ManagerFacts(slots=4, running=0)
WORKING = JobFacts(JobState.WORKING)


class Facts(NamedTuple):
    id: str
    dependencies: tuple[str, ...] = ()
    status: TaskStatus = TaskStatus.PENDING
    priority: int = 0
    retries: int = 0
    attempt: int = 0
    started_at: datetime | None = None
    completed_at: datetime | None = None
    retry_at: datetime | None = None
    error: str | None = None


def facts(task_id: str, *dependencies: str, **fields: Any) -> Facts:
    return Facts(task_id, dependencies, **fields)


def explain(task_id: str, *tasks: Facts, job: JobFacts = WORKING, manager: ManagerFacts | None = IDLE) -> list[Reason]:
    by_id = {task.id: task for task in tasks}
    return explain_task(by_id[task_id], by_id, job, manager, NOW)


def causes(reasons: list[Reason]) -> list[Cause]:
    return [reason.cause for reason in reasons]


def test_a_task_that_nothing_holds_is_about_to_start() -> None:
    [reason] = explain("a", facts("a"))
    assert reason.cause is Cause.READY
    assert "nothing holds it" in reason.text


def test_unmet_dependencies_are_named_with_their_state() -> None:
    [reason] = explain(
        "c",
        facts("a", status=TaskStatus.RUNNING),
        facts("b"),
        facts("done", status=TaskStatus.COMPLETED),
        facts("c", "a", "b", "done"),
    )
    assert reason.cause is Cause.DEPENDENCIES
    assert reason.text == "it waits for a (running), b (pending)"


def test_a_dependency_that_nobody_has_queued_is_told_as_such() -> None:
    [reason] = explain("b", facts("b", "a"))
    assert reason.text == "it waits for a (not queued yet)"


def test_many_dependencies_are_counted() -> None:
    names = [f"t{number}" for number in range(30)]
    [reason] = explain("last", *map(facts, names), facts("last", *names))
    assert reason.text.endswith("t9 (pending) and 20 more")


def test_without_a_manager_that_comes_first_and_the_rest_is_told_too() -> None:
    reasons = explain("b", facts("a"), facts("b", "a"), manager=None)
    assert causes(reasons) == [Cause.NO_MANAGER, Cause.DEPENDENCIES]
    assert "manager start" in (reasons[0].remedy or "")


def test_a_draining_manager_starts_nothing() -> None:
    assert causes(explain("a", facts("a"), manager=ManagerFacts(4, 0, is_draining=True))) == [Cause.DRAINING]


def test_a_pause_before_a_retry_says_why_and_how_long() -> None:
    task = facts(
        "a", attempt=1, retries=2, retry_at=NOW + timedelta(seconds=12), error="exit code 3; last lines: boom\nboom"
    )
    [reason] = explain("a", task)
    assert reason.cause is Cause.RETRY_PAUSE
    assert "attempt 1 failed (exit code 3)" in reason.text
    assert "in 12 s, at 07:30:12 UTC" in reason.text


def test_max_parallel_names_the_limit_and_who_comes_first() -> None:
    tasks = (
        facts("r1", status=TaskStatus.RUNNING),
        facts("r2", status=TaskStatus.RUNNING),
        facts("earlier"),
        facts("a"),
        facts("later"),
        facts("urgent", priority=5),
        facts("blocked", "r1", priority=9),
    )
    [reason] = explain("a", *tasks, job=JobFacts(JobState.WORKING, max_parallel=2))
    assert reason.cause is Cause.MAX_PARALLEL
    assert "no more than 2 may" in reason.text
    assert "2 tasks of its job come first" in reason.text


def test_full_slots_are_a_reason() -> None:
    [reason] = explain("a", facts("a"), manager=ManagerFacts(slots=4, running=4))
    assert reason.cause is Cause.NO_SLOT
    assert "all 4 slots" in reason.text


def test_slots_do_not_matter_to_a_task_that_waits_for_others() -> None:
    reasons = explain("b", facts("a"), facts("b", "a"), manager=ManagerFacts(slots=4, running=4))
    assert causes(reasons) == [Cause.DEPENDENCIES]


def test_a_manager_that_has_not_told_its_slots_is_no_hindrance() -> None:
    assert causes(explain("a", facts("a"), manager=ManagerFacts())) == [Cause.READY]


def test_a_skipped_task_names_the_root_of_the_trouble() -> None:
    [reason] = explain(
        "c",
        facts("a", status=TaskStatus.FAILED, attempt=1, error="exit code 1; last lines: boom"),
        facts("b", "a", status=TaskStatus.SKIPPED, error="skipped: its dependency a is failed"),
        facts("c", "b", status=TaskStatus.SKIPPED, error="skipped: its dependency b is skipped"),
    )
    assert reason.cause is Cause.SKIPPED
    assert reason.text == "it was skipped, because it needs a (by way of b), which is failed: exit code 1"


def test_a_skipped_task_whose_cause_is_gone_tells_what_is_recorded() -> None:
    task = facts("b", "a", status=TaskStatus.SKIPPED, error="skipped: its dependency a is failed")
    [reason] = explain("b", facts("a", status=TaskStatus.COMPLETED), task)
    assert reason.text == "skipped: its dependency a is failed"


def test_a_failed_task_tells_its_attempts_and_cause() -> None:
    [reason] = explain("a", facts("a", status=TaskStatus.FAILED, attempt=3, retries=2, error="exit code 1"))
    assert reason.text == "attempt 3 of 3 failed: exit code 1"
    assert "retry" in (reason.remedy or "")


def test_a_cancelled_task_tells_the_reason_and_whether_it_ran() -> None:
    job = JobFacts(JobState.CANCELLED, error="bad input")
    [before] = explain("a", facts("a", status=TaskStatus.CANCELLED), job=job)
    assert before.text == "it was cancelled before it started: bad input"
    [while_it_ran] = explain("a", facts("a", status=TaskStatus.CANCELLED, attempt=1), job=job)
    assert "while it ran" in while_it_ran.text


def test_a_running_and_a_completed_task_say_so() -> None:
    [runs] = explain("a", facts("a", status=TaskStatus.RUNNING, attempt=2, started_at=NOW))
    assert runs.text == "it runs: attempt 2, since 2025-10-02T07:30:00Z"
    [completed] = explain("a", facts("a", status=TaskStatus.COMPLETED, attempt=1))
    assert completed.cause is Cause.COMPLETED


def test_a_pending_task_of_a_job_that_is_over_never_ran() -> None:
    [reason] = explain("a", facts("a"), job=JobFacts(JobState.FAILED, error="tasks.json: not valid"), manager=None)
    assert reason.cause is Cause.JOB_OVER
    assert reason.text == "its job is failed: tasks.json: not valid"
