"""Which task of a job is handed out next."""

from __future__ import annotations

from air_executor.core.ready_tasks import ReadyTasks
from air_executor.core.states import TaskStatus
from air_executor.core.task import Task
from tests.support.jobs import T0, task


def made(order: int, priority: int = 0) -> Task:
    return Task(spec=task(f"t{order}", priority=priority), order=order, created_at=T0)


def test_higher_priority_comes_first_then_the_place_in_the_job() -> None:
    ready = ReadyTasks()
    tasks = [made(2), made(0), made(3, priority=5), made(1, priority=5)]
    for each in tasks:
        ready.add(each)
    assert [each.order for each in iter(ready.take, None)] == [1, 3, 0, 2]
    assert not ready


def test_a_task_is_handed_out_once_however_often_it_was_added() -> None:
    ready, only = ReadyTasks(), made(0)
    ready.add(only)
    ready.add(only)
    assert ready.take() is only
    assert ready.take() is None
    ready.add(only)
    assert ready.take() is only


def test_what_is_no_longer_ready_is_passed_over() -> None:
    ready, running, waiting, left = ReadyTasks(), made(0), made(1), made(2)
    for each in (running, waiting, left):
        ready.add(each)
    running.status, waiting.unmet = TaskStatus.RUNNING, 1
    assert ready.any_left()
    assert ready.take() is left
    assert not ready.any_left()
    assert ready.take() is None


def test_what_was_cleared_can_be_added_again() -> None:
    ready, only = ReadyTasks(), made(0)
    ready.add(only)
    ready.clear()
    assert not ready
    ready.add(only)
    assert ready.take() is only
