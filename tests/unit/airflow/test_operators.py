from __future__ import annotations

import dataclasses
import shutil
import threading
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

import pytest

pytest.importorskip("airflow.sdk", reason="Airflow is not installed")

from air_executor.airflow import job_observer, sdk_compat, waiting
from air_executor.airflow.handed_over_job import cancel_for
from air_executor.airflow.hook import AirExecutorHook
from air_executor.airflow.operators import AirExecutorJobOperator, AirExecutorSubmitOperator
from air_executor.airflow.sdk_compat import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferred,
)
from air_executor.airflow.sensors import AirExecutorJobSensor
from air_executor.airflow.task_instance_try import TaskInstanceTry
from air_executor.airflow.triggers import AirExecutorJobTrigger
from air_executor.client import AirExecutorClient
from air_executor.core.states import JobState, TaskStatus
from air_executor.errors import DamagedFileError, InvalidJobError, JobNotFoundError
from air_executor.store.requests import list_requests, read_request
from tests.support.written_jobs import write_job, write_result

TASKS = [{"command": "true"}]
DONE, FAILED = {"task-1": TaskStatus.COMPLETED}, {"task-1": TaskStatus.FAILED}


@dataclasses.dataclass
class FakeTaskInstance:
    dag_id: str = "sales"
    task_id: str = "extract"
    run_id: str = "r1"
    map_index: int = -1
    try_number: int = 1
    max_tries: int = 0
    xcoms: dict = dataclasses.field(default_factory=dict)

    def xcom_push(self, key, value):
        self.xcoms[key] = value

    def get_first_reschedule_date(self, context):
        return None


@pytest.fixture
def client(tmp_path, monkeypatch):
    client = AirExecutorClient(tmp_path / "root")
    monkeypatch.setattr(AirExecutorHook, "get_client", lambda hook: client)
    monkeypatch.setattr(AirExecutorHook, "need_manager", lambda hook: None)
    monkeypatch.setattr(client, "manager_is_running", lambda: True)
    monkeypatch.setattr(client, "retry", lambda name: None)
    monkeypatch.setattr(sdk_compat, "push_link", lambda ti, key, url: ti.xcom_push(key, url))
    return client


@pytest.fixture
def ti():
    return FakeTaskInstance()


@pytest.fixture
def context(ti):
    return {"ti": ti}


def ends(client, state=JobState.COMPLETED, tasks=DONE, **fields):
    """Let the newest job end."""
    name = client.job_names()[-1]
    view = client.job(name)
    write_job(client, name, state, tasks, labels=view.labels, options=view.options, **fields)


def requests(client):
    return [type(read_request(path)).__name__ for path in list_requests(client._root)]


def job(**arguments) -> AirExecutorJobOperator:
    return AirExecutorJobOperator(task_id="extract", tasks=TASKS, defer_after=0, **arguments)


def deferred(operator, context) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as caught:
        operator.execute(context)
    return caught.value


def test_submit_returns_the_name_and_shows_the_link_at_once(client, context, ti):
    name = AirExecutorSubmitOperator(task_id="extract", tasks=TASKS, max_parallel=4).execute(context)

    view = client.job(name)
    assert name.startswith("sales-extract-r1-")
    assert (view.labels["kind"], view.labels["task_id"]) == ("hand-over", "extract")
    assert view.options.max_parallel == 4
    assert view.options.environment is not None
    assert ti.xcoms["job_name"] == name
    assert ti.xcoms["_link_AirExecutorJobLink"].endswith(f"/air-executor/#job={name}")


def test_submit_twice_submits_once(client, context, ti):
    operator = AirExecutorSubmitOperator(task_id="extract", tasks=TASKS)
    first = operator.execute(context)
    ti.try_number = 2

    assert operator.execute(context) == first
    assert client.job_names() == [first]


def test_submit_again_after_somebody_cleared_it_submits_anew(client, context, ti):
    operator = AirExecutorSubmitOperator(task_id="extract", tasks=TASKS)
    first = operator.execute(context)
    ends(client)
    ti.try_number, ti.max_tries = 2, 1

    assert operator.execute(context) == f"{first}.2"


def test_options_come_as_a_dictionary_or_singly(client, context):
    name = AirExecutorSubmitOperator(
        task_id="extract", tasks=TASKS, options={"max_parallel": 2, "fail_fast": True}, max_parallel=3, priority=0
    ).execute(context)

    options = client.job(name).options
    assert (options.max_parallel, options.fail_fast, options.priority) == (3, True, 0)


@pytest.mark.parametrize("arguments", [{"tasks": "echo"}, {"options": {"no": 1}}, {"tasks": [{"comand": "x"}]}])
def test_bad_input_submits_nothing(client, context, arguments):
    with pytest.raises(InvalidJobError):
        AirExecutorSubmitOperator(task_id="extract", **{"tasks": TASKS, **arguments}).execute(context)

    assert client.job_names() == []


def test_job_waits_in_the_triggerer(client, context):
    deferral = deferred(job(timeout=timedelta(minutes=5), end_from_trigger=True, pull_results={"b", "a"}), context)

    assert isinstance(deferral.trigger, AirExecutorJobTrigger)
    _, kwargs = deferral.trigger.serialize()
    assert kwargs["job_name"] == client.job_names()[0]
    assert kwargs["base_path"] == str(client.base_path)
    assert (kwargs["cancels_job"], kwargs["end_from_trigger"], kwargs["pull_results"]) == (True, True, ["a", "b"])
    assert deferral.method_name == "execute_complete"
    left = datetime.fromisoformat(deferral.kwargs["deadline"]) - datetime.now(timezone.utc)
    assert timedelta(minutes=4) < left <= deferral.timeout <= timedelta(minutes=5)


def test_job_without_a_limit_defers_without_one(client, context):
    deferral = deferred(job(), context)

    assert (deferral.timeout, deferral.kwargs) == (None, None)


def test_limit_that_no_calendar_has_is_none(client, context):
    assert deferred(job(timeout=1e15), context).timeout is None


def soon(seconds: float) -> str:
    return (datetime.now(timezone.utc) + timedelta(seconds=seconds)).isoformat()


def sensor(**arguments) -> AirExecutorJobSensor:
    return AirExecutorJobSensor(
        **{"task_id": "wait", "job_name": "nightly", "deferrable": True, "defer_after": 0, **arguments}
    )


@pytest.mark.parametrize("make", [lambda: job(timeout=60), lambda: sensor(timeout=60)])
def test_job_that_was_run_again_is_waited_for_within_the_same_limit(client, context, make):
    write_job(client, "nightly")
    deadline = soon(30)

    with pytest.raises(TaskDeferred) as caught:
        make().resume_execution("execute_complete", {"event": {"job_name": "nightly"}, "deadline": deadline}, context)

    assert caught.value.kwargs == {"deadline": deadline}
    assert caught.value.timeout <= timedelta(seconds=30)


@pytest.mark.parametrize(
    ("make", "error", "sent"),
    [
        (lambda: job(timeout=60), AirflowException, ["CancelJob"]),
        (lambda: sensor(timeout=60), AirflowSensorTimeout, []),
        (lambda: sensor(timeout=60, soft_fail=True), AirflowSkipException, []),
    ],
)
def test_job_that_was_run_again_when_the_time_was_up_is_waited_for_no_more(client, context, make, error, sent):
    write_job(client, "nightly")

    with pytest.raises(error):
        make().resume_execution("execute_complete", {"event": {"job_name": "nightly"}, "deadline": soon(-1)}, context)

    assert requests(client) == sent


def test_job_that_goes_on_after_the_kill_of_an_earlier_try_has_the_same_limit(client, context, ti):
    operator = job(timeout=60)
    name = deferred(operator, context).trigger.job_name
    cancel_for(client, name, TaskInstanceTry.of(FakeTaskInstance()), "its task in Airflow was ended")
    ends(client, JobState.CANCELLED, {"task-1": TaskStatus.CANCELLED})
    ti.try_number, ti.max_tries = 2, 1
    deadline = soon(30)

    with pytest.raises(TaskDeferred) as caught:
        operator.execute_complete(context, {"job_name": name}, deadline=deadline)

    assert caught.value.kwargs == {"deadline": deadline}


def test_triggerer_that_sees_another_directory_fails_the_task(client, context):
    operator = job()
    name = deferred(operator, context).trigger.job_name

    with pytest.raises(AirflowException, match=f"no job {name} under {client.base_path}: .* the same directory"):
        operator.execute_complete(context, {"job_name": name, "missing": True})


def test_job_that_is_gone_fails_the_task(client, context):
    with pytest.raises(AirflowException, match="removed, or never submitted"):
        job().execute_complete(context, {"job_name": "gone", "missing": True})


@pytest.mark.parametrize("error", [DamagedFileError("state.json: no JSON"), OSError(24, "Too many open files")])
def test_a_look_that_fails_does_not_end_the_wait_in_the_worker(client, context, monkeypatch, error):
    write_job(client, "nightly", JobState.COMPLETED, DONE)
    monkeypatch.setattr(waiting, "_LOOK_S", 0.01)
    looks = []

    def look(observer):
        looks.append(observer)
        if len(looks) == 1:
            raise error
        return real_look(observer)

    real_look = waiting.JobObserver.look
    monkeypatch.setattr(waiting.JobObserver, "look", look)

    assert sensor(deferrable=False, timeout=60).execute(context)["state"] == "completed"
    assert len(looks) == 2


def test_outlets_need_a_worker(client, context):
    from airflow.sdk import Asset

    _, kwargs = deferred(job(end_from_trigger=True, outlets=[Asset("report")]), context).trigger.serialize()

    assert kwargs["end_from_trigger"] is False


def test_job_hands_back_its_summary(client, context, ti):
    operator = job()
    name = deferred(operator, context).trigger.job_name
    ends(client)
    write_result(client, name, "task-1", 42)

    summary = operator.execute_complete(context, {"job_name": name})

    assert (summary["state"], summary["results"]) == ("completed", {"task-1": 42})
    assert ti.xcoms["completed_tasks"] == 1
    assert ti.xcoms[f"progress_history_{name}"][-1]["completed"] == 1


def test_failed_job_fails_the_task_with_the_reason(client, context):
    operator = job()
    name = deferred(operator, context).trigger.job_name
    ends(client, JobState.FAILED, FAILED)

    with pytest.raises(AirflowException, match="exit code 3") as caught:
        operator.execute_complete(context, {"job_name": name})
    assert not isinstance(caught.value, AirflowFailException)  # Airflow's retries are for this


def test_cancelled_job_is_not_retried(client, context):
    operator = job()
    name = deferred(operator, context).trigger.job_name
    ends(client, JobState.CANCELLED, {"task-1": TaskStatus.CANCELLED}, error="enough")

    with pytest.raises(AirflowFailException, match="enough"):
        operator.execute_complete(context, {"job_name": name})


def test_retry_of_a_failed_job_does_not_take_the_old_end_for_the_new_one(client, context, ti):
    operator = job()
    deferred(operator, context)
    ends(client, JobState.FAILED, FAILED)
    ti.try_number = 2

    _, kwargs = deferred(operator, context).trigger.serialize()

    assert kwargs["after"] == client.job(kwargs["job_name"]).updated_at.isoformat()


def test_job_that_is_short_needs_no_triggerer(client, context, monkeypatch):
    operator = AirExecutorJobOperator(task_id="extract", tasks=TASKS, defer_after=30)
    observe = waiting.JobObserver.look

    def look(observer):
        ends(client)
        return observe(observer)

    monkeypatch.setattr(waiting.JobObserver, "look", look)

    assert operator.execute(context)["state"] == "completed"


def test_job_that_takes_too_long_is_cancelled(client, context):
    with pytest.raises(AirflowException, match=r"not over within 0.05 s"):
        job(deferrable=False, timeout=0.05).execute(context)

    assert requests(client) == ["CancelJob"]


def test_job_that_takes_too_long_in_the_triggerer_is_cancelled(client, context, ti, monkeypatch):
    operator = job(timeout=60)
    deferred(operator, context)
    monkeypatch.setattr(sdk_compat, "read_xcom", lambda of, key: ti.xcoms.get(key))

    with pytest.raises(AirflowException, match="not over within 60 s"):
        operator.resume_execution("__fail__", {"error": "Trigger timeout"}, context)

    assert requests(client) == ["CancelJob"]


@pytest.mark.parametrize(("cancels", "sent"), [(True, ["CancelJob"]), (False, [])])
def test_killed_task_cancels_its_job(client, context, cancels, sent):
    operator = job(cancel_on_kill=cancels)
    deferred(operator, context)

    operator.on_kill()

    assert requests(client) == sent


def test_task_killed_before_it_submitted_has_nothing_to_cancel(client):
    job().on_kill()

    assert requests(client) == []


def test_cancellation_meant_for_an_earlier_try_does_not_end_this_one(client, context, ti):
    operator = job()
    name = deferred(operator, context).trigger.job_name
    ti.try_number, ti.max_tries = 2, 1
    deferred(operator, context)  # attached, before the trigger of the first try heard that it was cleared
    cancel_for(client, name, TaskInstanceTry.of(FakeTaskInstance()), "its task in Airflow was ended")
    ends(client, JobState.CANCELLED, {"task-1": TaskStatus.CANCELLED})

    with pytest.raises(TaskDeferred):
        operator.execute_complete(context, {"job_name": name})
    # Who cancels it now means this try.
    with pytest.raises(AirflowFailException):
        operator.execute_complete(context, {"job_name": name})


def test_sensor_waits_for_anybodys_job(client, context):
    write_job(client, "nightly", JobState.COMPLETED, DONE)
    sensor = AirExecutorJobSensor(task_id="wait", job_name="nightly")

    assert sensor.execute(context)["state"] == "completed"


def test_sensor_that_defers_leaves_the_job_alone_when_it_is_killed(client, context):
    write_job(client, "nightly")
    sensor = AirExecutorJobSensor(task_id="wait", job_name="nightly", deferrable=True, defer_after=0)

    _, kwargs = deferred(sensor, context).trigger.serialize()
    sensor.on_kill()

    assert kwargs["cancels_job"] is False
    assert requests(client) == []


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.CANCELLED])
@pytest.mark.parametrize("how", [{}, {"mode": "reschedule"}, {"deferrable": True}])
@pytest.mark.parametrize("kindness", ["soft_fail", "never_fail"])
def test_sensor_that_fails_softly_is_skipped_however_it_waits(client, context, state, how, kindness):
    write_job(client, "nightly", state, FAILED)

    with pytest.raises(AirflowSkipException):
        AirExecutorJobSensor(task_id="wait", job_name="nightly", **{kindness: True}, **how).execute(context)


@pytest.fixture
def told(monkeypatch):
    """What the sensor said."""
    lines: list[str] = []
    log = SimpleNamespace(**{level: lambda form, *given: lines.append(form % given) for level in ("info", "warning")})
    monkeypatch.setattr(AirExecutorJobSensor, "log", log)
    return lines


def waits(lines) -> int:
    return sum("Waiting for Air-Executor to start" in line for line in lines)


def test_sensor_in_mode_poke_waits_for_a_job_that_is_not_there_yet(client, context, told):
    aside = client.base_path / "tmp" / "aside"
    write_job(client, "nightly", JobState.COMPLETED, DONE).rename(aside)
    timer = threading.Timer(0.3, aside.rename, [client.base_path / "jobs" / "nightly"])
    timer.start()

    assert sensor(deferrable=False, timeout=60).execute(context)["state"] == "completed"
    assert waits(told) == 1


def test_sensor_in_mode_poke_waits_for_a_job_until_its_timeout(client, context, told):
    with pytest.raises(AirflowSensorTimeout):
        sensor(deferrable=False, timeout=0.05).execute(context)

    assert waits(told) == 1


def test_sensor_in_mode_reschedule_looks_again_for_a_job_that_is_not_there_yet(client, context, told):
    assert sensor(deferrable=False, mode="reschedule").poke(context) is False
    assert waits(told) == 1


@pytest.mark.parametrize("is_there", [False, True])
def test_sensor_that_defers_has_the_triggerer_wait_for_a_job_that_is_not_there_yet(client, context, told, is_there):
    if is_there:
        write_job(client, "nightly")

    deferral = deferred(sensor(timeout=60), context)

    assert deferral.trigger.serialize()[1]["awaits_start"] is not is_there
    assert deferral.timeout <= timedelta(seconds=60)
    assert waits(told) == (not is_there)


def test_sensor_whose_job_is_removed_under_it_fails(client, context, monkeypatch):
    write_job(client, "nightly")
    real_look = waiting.JobObserver.look

    def look(observer):
        view = real_look(observer)
        shutil.rmtree(client.base_path / "jobs" / "nightly")
        return view

    monkeypatch.setattr(waiting.JobObserver, "look", look)
    monkeypatch.setattr(job_observer, "_LOOK_S", 0.05)

    with pytest.raises(JobNotFoundError):
        sensor(deferrable=False, timeout=60).execute(context)


def test_sensor_in_mode_reschedule_looks_once(client, context, monkeypatch):
    write_job(client, "nightly")
    sensor = AirExecutorJobSensor(task_id="wait", job_name="nightly", mode="reschedule", poke_interval=60)

    assert sensor.poke(context) is False


def test_sensor_in_mode_poke_has_a_timeout(client, context):
    write_job(client, "nightly")

    with pytest.raises(AirflowSensorTimeout):
        AirExecutorJobSensor(task_id="wait", job_name="nightly", timeout=0.05).execute(context)


@pytest.mark.parametrize("arguments", [{"timeout": -1}, {"defer_after": "soon"}, {"report_interval": float("nan")}])
def test_durations_that_are_none_are_refused_when_the_dag_is_read(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        AirExecutorJobOperator(task_id="extract", tasks=TASKS, **arguments)


def test_templates_reach_tasks_and_names():
    assert {"tasks", "job_name", "options"} <= set(AirExecutorJobOperator.template_fields)
    assert "job_name" in AirExecutorJobSensor.template_fields
