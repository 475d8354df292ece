from __future__ import annotations

import asyncio
import threading
from collections import deque
from types import SimpleNamespace

import pytest

pytest.importorskip("airflow.triggers.base", reason="Airflow is not installed")

from airflow.triggers.base import BaseTrigger

from air_executor.airflow import prompt_event, triggers
from air_executor.airflow.triggers import AirExecutorJobTrigger
from air_executor.client import AirExecutorClient
from air_executor.core.states import JobState, TaskStatus
from air_executor.errors import DamagedFileError
from air_executor.store.requests import list_requests
from tests.support.jobs import at
from tests.support.written_jobs import write_job, write_result

WHO = {"dag_id": "sales", "task_id": "extract", "run_id": "r1", "map_index": -1, "try_number": 1, "max_tries": 0}
DONE = {"task-1": TaskStatus.COMPLETED}


@pytest.fixture
def client(tmp_path, monkeypatch):
    triggers._open.cache_clear()
    # What a lost event costs, instead of ten seconds.
    monkeypatch.setattr(triggers, "_next_push_at", float("inf"))
    return AirExecutorClient(tmp_path / "root")


@pytest.fixture
def pushed(monkeypatch):
    """What Airflow was given as XCom."""
    xcoms: dict[str, object] = {}

    async def push(who, given):
        xcoms.update(given)

    monkeypatch.setattr(triggers, "push_xcoms", push)
    return xcoms


@pytest.fixture
def told(monkeypatch):
    """What went into the log of the task."""
    lines: list[str] = []
    log = SimpleNamespace(
        **{level: lambda form, *given: lines.append(form % given) for level in ("info", "warning", "error")}
    )
    monkeypatch.setattr(AirExecutorJobTrigger, "log", log)
    return lines


def make(client, **arguments) -> AirExecutorJobTrigger:
    return AirExecutorJobTrigger(**{"job_name": "job", "base_path": str(client.base_path), "who": WHO, **arguments})


async def fire(trigger):
    return [event async for event in trigger.run()]


def run_with(trigger, change):
    """Run a trigger, let `change` happen once it waits, and return its events."""

    async def scenario():
        waiting = asyncio.create_task(fire(trigger))
        await asyncio.sleep(0.3)
        assert not waiting.done()
        change()
        return await asyncio.wait_for(waiting, 5)

    return asyncio.run(scenario())


def test_fires_as_soon_as_the_job_is_over(client):
    write_job(client, "job")

    (event,) = run_with(make(client), lambda: write_job(client, "job", JobState.COMPLETED, DONE))

    assert event.payload == {"job_name": "job"}


def test_job_that_is_over_already_fires_at_once(client):
    write_job(client, "job", JobState.FAILED)

    assert len(asyncio.run(fire(make(client)))) == 1


MISSING = {"job_name": "job", "missing": True}


@pytest.mark.parametrize("ends_there", [False, True])
def test_job_that_is_gone_fires_too_so_that_a_worker_can_say_so(client, ends_there):
    (event,) = asyncio.run(fire(make(client, end_from_trigger=ends_there)))

    assert event.payload == MISSING


@pytest.mark.parametrize("awaits", [False, True])
def test_base_path_that_the_triggerer_does_not_see_is_missing_and_not_made(tmp_path, told, awaits):
    trigger = AirExecutorJobTrigger(job_name="job", base_path=str(tmp_path / "elsewhere"), who=WHO, awaits_start=awaits)

    (event,) = asyncio.run(asyncio.wait_for(fire(trigger), 5))

    assert event.payload == MISSING
    assert not (tmp_path / "elsewhere").exists()
    assert f"{tmp_path}/elsewhere: does not exist" in told[0]


def test_job_that_need_not_be_there_yet_is_waited_for(client):
    trigger = make(client, awaits_start=True)
    aside = client.base_path / "tmp" / "aside"
    write_job(client, "job", JobState.COMPLETED, DONE).rename(aside)

    (event,) = run_with(trigger, lambda: aside.rename(client.base_path / "jobs" / "job"))

    assert event.payload == {"job_name": "job"}


def test_job_that_appears_unheard_is_found(client, monkeypatch):
    monkeypatch.setattr(triggers, "_LOOK_S", 0.05)
    monkeypatch.setattr(triggers.Bells, "_ring", lambda bells: bells._inotify.take())

    (event,) = run_with(make(client, awaits_start=True), lambda: write_job(client, "job", JobState.COMPLETED, DONE))

    assert event.payload == {"job_name": "job"}


@pytest.mark.parametrize(("state", "slow"), [(JobState.FAILED, "read_glances"), (JobState.COMPLETED, "note_taken")])
def test_files_are_read_and_written_beside_the_event_loop(client, pushed, told, monkeypatch, state, slow):
    write_job(client, "job", state, DONE)
    threads = []
    real = getattr(triggers, slow)
    monkeypatch.setattr(triggers, slow, lambda *given: (threads.append(threading.get_ident()), real(*given))[1])

    asyncio.run(fire(make(client, end_from_trigger=True, cancels_job=True)))

    assert len(threads) == 1
    assert threads[0] != threading.get_ident()


def test_lost_events_are_made_up_for(client, monkeypatch):
    monkeypatch.setattr(triggers, "_LOOK_S", 0.05)
    monkeypatch.setattr(triggers.Bells, "_ring", lambda bells: bells._inotify.take())
    write_job(client, "job")

    assert len(run_with(make(client), lambda: write_job(client, "job", JobState.COMPLETED, DONE))) == 1


@pytest.mark.parametrize("error", [DamagedFileError("state.json: no JSON"), OSError(24, "Too many open files")])
def test_a_look_that_fails_does_not_end_the_wait(client, monkeypatch, told, error):
    write_job(client, "job")
    looks = []

    def look(observer):
        looks.append(observer)
        if len(looks) == 1:
            raise error
        return real_look(observer)

    real_look = triggers.JobObserver.look
    monkeypatch.setattr(triggers.JobObserver, "look", look)

    assert len(run_with(make(client), lambda: write_job(client, "job", JobState.COMPLETED, DONE))) == 1
    assert str(error) in told[0]


def test_end_before_the_job_was_run_again_does_not_count(client):
    write_job(client, "job", JobState.FAILED, seconds=10)
    trigger = make(client, after=at(10).isoformat())

    assert len(run_with(trigger, lambda: write_job(client, "job", JobState.COMPLETED, DONE, seconds=11))) == 1


def test_survives_a_restart_of_the_triggerer(client):
    first = make(
        client, cancels_job=True, end_from_trigger=True, after=at(1).isoformat(), pull_results=["a"], awaits_start=True
    )
    path, kwargs = first.serialize()

    second = AirExecutorJobTrigger(**kwargs)

    assert path == "air_executor.airflow.triggers.AirExecutorJobTrigger"
    assert second.serialize() == (path, kwargs)


def test_progress_goes_to_the_log_of_the_task(client, told):
    write_job(client, "job", tasks={"task-1": TaskStatus.RUNNING})

    run_with(make(client), lambda: write_job(client, "job", JobState.COMPLETED, DONE))

    (report,) = told
    assert "Air-Executor Progress Report" in report
    assert "🔄 task-1" in report


def test_totals_go_to_xcom_of_long_waits_and_only_what_changed(client, pushed, monkeypatch):
    monkeypatch.setattr(triggers, "_PUSH_AFTER_S", 0.0)
    monkeypatch.setattr(triggers, "_next_push_at", 0.0)
    write_job(client, "job", tasks={"a": TaskStatus.COMPLETED, "b": TaskStatus.RUNNING})

    run_with(make(client), lambda: write_job(client, "job", JobState.COMPLETED, DONE))

    assert (pushed["total_tasks"], pushed["completed_tasks"]) == (2, 1)


def test_short_waits_push_nothing(client, pushed, monkeypatch):
    monkeypatch.setattr(triggers, "_next_push_at", 0.0)
    write_job(client, "job")

    run_with(make(client), lambda: write_job(client, "job", JobState.COMPLETED, DONE))

    assert pushed == {}


def test_can_end_the_task_itself(client, pushed):
    write_job(client, "job", JobState.COMPLETED, DONE)
    write_result(client, "job", "task-1", 7)

    (event,) = asyncio.run(fire(make(client, end_from_trigger=True)))

    assert event.task_instance_state == "success"
    assert pushed["return_value"]["results"] == {"task-1": 7}


def test_failure_ends_the_task_itself_with_the_reason_in_the_log(client, told):
    write_job(client, "job", JobState.FAILED, {"task-1": TaskStatus.FAILED}, error="1 of 1 tasks failed")

    (event,) = asyncio.run(fire(make(client, end_from_trigger=True)))

    assert event.task_instance_state == "failed"
    assert "exit code 3" in told[-1]


def test_cancelled_job_is_left_to_a_worker(client):
    write_job(client, "job", JobState.CANCELLED)

    (event,) = asyncio.run(fire(make(client, end_from_trigger=True)))

    assert event.payload == {"job_name": "job"}


def test_result_that_cannot_be_stored_is_left_to_a_worker(client, monkeypatch):
    async def fail(who, given):
        raise RuntimeError("the database is locked")

    monkeypatch.setattr(triggers, "push_xcoms", fail)
    write_job(client, "job", JobState.COMPLETED, DONE)

    (event,) = asyncio.run(fire(make(client, end_from_trigger=True)))

    assert event.payload == {"job_name": "job"}


@pytest.mark.parametrize(("cancels", "number"), [(True, 1), (False, 0)])
def test_somebodys_act_cancels_the_job_where_it_is_the_tasks_own(client, cancels, number):
    write_job(client, "job")

    asyncio.run(make(client, cancels_job=cancels).on_kill())

    assert len(list_requests(client._root)) == number


@pytest.mark.parametrize(("left", "number"), [(True, 1), (False, 0)])
def test_older_airflow_is_asked_whether_the_task_was_ended(client, monkeypatch, left, number):
    monkeypatch.delattr(BaseTrigger, "on_kill", raising=False)

    async def has_left(who):
        return left

    monkeypatch.setattr(triggers, "has_left", has_left)
    write_job(client, "job")

    async def scenario():
        waiting = asyncio.create_task(fire(make(client, cancels_job=True)))
        await asyncio.sleep(0.2)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(scenario())

    assert len(list_requests(client._root)) == number


class TriggerRunner:
    """As much of Airflow's as is called."""

    def __init__(self) -> None:
        self.events: deque[object] = deque()
        self.failed_triggers: deque[object] = deque()
        self.sent: list[object] = []

    async def sync_state_to_supervisor(self, finished_ids) -> None:
        taken = [*self.events, *self.failed_triggers]
        self.events.clear()
        self.failed_triggers.clear()
        await self.asend(taken)

    async def asend(self, entries) -> None:
        self.sent += entries

    async def arun(self, trigger) -> None:
        async for event in trigger.run():
            self.events.append(event)


def test_event_is_sent_at_once(client):
    write_job(client, "job", JobState.COMPLETED, DONE)
    runner = TriggerRunner()

    asyncio.run(runner.arun(make(client)))

    assert [event.payload for event in runner.sent] == [{"job_name": "job"}]


def test_airflow_that_has_changed_sends_at_its_own_time(client, monkeypatch):
    monkeypatch.setattr(TriggerRunner, "sync_state_to_supervisor", None)
    write_job(client, "job", JobState.COMPLETED, DONE)
    runner = TriggerRunner()

    asyncio.run(runner.arun(make(client)))

    assert len(runner.events) == 1


def test_events_that_airflow_took_and_could_not_send_are_sent_at_its_own_time(client, monkeypatch):
    write_job(client, "job", JobState.COMPLETED, DONE)
    runner = TriggerRunner()
    runner.events.append("another trigger's event")
    runner.failed_triggers.append("another trigger's failure")

    async def fail(of, entries):
        of.events.append("one that came meanwhile")
        raise RuntimeError("no answer")

    monkeypatch.setattr(TriggerRunner, "asend", fail)

    asyncio.run(runner.arun(make(client)))

    first, ours, last = runner.events
    assert (first, ours.payload, last) == ("another trigger's event", {"job_name": "job"}, "one that came meanwhile")
    assert list(runner.failed_triggers) == ["another trigger's failure"]


def test_the_runner_that_is_looked_for_is_airflows():
    from airflow.jobs.triggerer_job_runner import TriggerRunner as Airflows

    assert Airflows.__name__ == prompt_event._RUNNER
    assert hasattr(Airflows, prompt_event._LOOP)
    assert hasattr(Airflows, prompt_event._SEND)
