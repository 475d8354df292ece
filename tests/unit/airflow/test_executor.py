"""The executor against a client without files, on whichever Airflow is installed."""

from __future__ import annotations

import inspect
import json
import time
from functools import partial
from types import SimpleNamespace

import pytest

from air_executor.airflow import compat, exit_codes
from air_executor.airflow.collection import Collector
from air_executor.airflow.executor import AirExecutorExecutor
from air_executor.core.events import Outcome
from air_executor.core.states import JobState
from air_executor.errors import ConfigurationError, DamagedFileError, RootError, SubmissionError
from tests.unit.airflow.conftest import TOKEN, make_callback, make_connection_test, make_workload


def hand_over(executor, *workloads):
    """Queue workloads and run one heartbeat, as the scheduler does."""
    for workload in workloads:
        executor.queue_workload(workload, session=None)
    executor.heartbeat()


def look_at_everything(executor):
    """Run one loop of the scheduler in which the executor looks at all of its jobs."""
    executor._next_check_all_at = 0.0
    executor.sync()


def task_instance_of(workload, *, state="running", job_name=None):
    ti = workload.ti
    return SimpleNamespace(
        id=ti.id,
        key=ti.key,
        dag_id=ti.dag_id,
        task_id=ti.task_id,
        run_id=ti.run_id,
        map_index=ti.map_index,
        try_number=ti.try_number,
        state=state,
        external_executor_id=job_name,
    )


@pytest.fixture
def clock(monkeypatch):
    """A clock for how long files stay damaged."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr("air_executor.airflow.executor.Collector", partial(Collector, clock=lambda: clock.now))
    return clock


def state_of(event):
    return getattr(event[0], "value", event[0])


def audit_log(executor):
    return [entry.extra for entry in executor._task_event_logs]


def test_airflow_finds_the_executor_by_the_name_in_the_configuration():
    import air_executor

    assert air_executor.AirExecutorExecutor is AirExecutorExecutor
    with pytest.raises(AttributeError):
        _ = air_executor.SomethingElse


def test_it_names_the_parameters_as_airflow_passes_them():
    assert list(inspect.signature(AirExecutorExecutor).parameters) == ["parallelism", "team_name"]


def test_an_instance_that_is_not_started_touches_nothing(client):
    AirExecutorExecutor()
    assert client.environments == []
    assert client.starts == []


def test_start_saves_the_environment_and_warms_it_up(executor, client):
    python, variables, cwd = client.environments[0]
    assert python.startswith("/")
    assert "PATH" in variables
    assert cwd.startswith("/")
    assert client.warmed_up == ["digest"]


def test_start_starts_a_manager_with_the_settings_it_needs(client, logged):
    client.has_manager = False
    AirExecutorExecutor(parallelism=7).start()
    assert client.starts == [
        {"slots": 7, "warm_parent_idle_s": 600.0, "kill_grace_s": 10.0, "keep_announced_s": 86400.0}
    ]


def test_start_names_an_option_that_is_wrong(client, monkeypatch):
    monkeypatch.setenv("AIRFLOW__AIR_EXECUTOR__SYNC_LINGER", "soon")
    with pytest.raises(ConfigurationError, match="sync_linger"):
        AirExecutorExecutor().start()


def test_a_workload_becomes_a_job_that_names_what_it_runs(executor, client):
    workload = make_workload(map_index=3)
    hand_over(executor, workload)

    (name,) = client.specs
    spec = client.specs[name]
    assert executor.running == {workload.ti.key}
    assert executor.get_event_buffer() == {workload.ti.key: (compat.TASK_QUEUED, name)}
    assert not executor.queued_tasks
    assert spec.options.announce
    assert not spec.options.durable
    assert spec.options.environment == "digest"
    assert spec.labels == {
        "kind": "task",
        "dag_id": "sales",
        "task_id": "extract",
        "run_id": "manual__2025-10-02T07:30:00+00:00",
        "map_index": "3",
        "try_number": "1",
        "ti_id": str(workload.ti.id),
        "log_path": workload.log_path,
    }
    (task,) = spec.tasks
    assert (task.id, task.runner, task.workload) == ("airflow-task", "airflow", "workload.json")


def test_the_token_is_in_the_attachment_and_nowhere_else(executor, client, logged, caplog):
    workload = make_workload()
    hand_over(executor, workload)
    (name,) = client.specs
    assert json.loads(client.attachments[name]["workload.json"])["token"] == TOKEN
    client.end(name, JobState.FAILED, exit_code=1, outcome=Outcome.FAILED)
    executor.sync()
    executor.debug_dump()
    seen = [repr(client.specs), repr(executor.event_buffer), repr(logged), repr(audit_log(executor)), caplog.text, name]
    assert all(TOKEN not in text for text in seen)


def test_the_token_is_not_in_the_error_of_a_workload_that_cannot_be_submitted(executor, client, logged, caplog):
    client.fault = ValueError(f"cannot encode {TOKEN}")
    hand_over(executor, make_workload())
    seen = [repr(executor.event_buffer), repr(logged), repr(audit_log(executor)), caplog.text]
    assert all(TOKEN not in text for text in seen)


def test_higher_priority_goes_first_and_slots_are_honest(executor, client):
    workloads = [make_workload(f"t{weight}", priority=weight) for weight in (1, 5, 3, 9, 7)]
    hand_over(executor, *workloads)
    assert [spec.labels["task_id"] for spec in client.specs.values()] == ["t9", "t7", "t5", "t3"]
    assert [spec.options.priority for spec in client.specs.values()] == [9, 7, 5, 3]
    assert executor.slots_available == -1
    assert len(executor.running) == 4


def test_an_ended_job_is_reported_once_and_its_mark_removed(executor, client):
    workload = make_workload()
    hand_over(executor, workload)
    (name,) = client.specs
    client.end(name)
    executor.sync()
    assert state_of(executor.get_event_buffer()[workload.ti.key]) == "success"
    assert not executor.running
    assert client.ended == []
    executor.sync()
    assert executor.get_event_buffer() == {}


def test_a_failure_gives_its_reason_everywhere(executor, client, logged, caplog):
    workload = make_workload()
    hand_over(executor, workload)
    (name,) = client.specs
    client.write_output(name, "Segmentation fault")
    client.end(name, JobState.FAILED, signal=11, outcome=Outcome.FAILED)
    executor.sync()

    state, info = executor.get_event_buffer()[workload.ti.key]
    assert state == compat.TASK_FAILED
    for text in (info, audit_log(executor)[0], logged[0][1]):
        assert "SIGSEGV (11)" in text
        assert "Segmentation fault" in text
        assert name in text
    assert logged[0][0] == workload.log_path


def test_what_the_supervisor_logged_is_not_logged_again(executor, client, logged):
    hand_over(executor, make_workload())
    client.end(next(iter(client.specs)), JobState.FAILED, exit_code=1, outcome=Outcome.FAILED)
    executor.sync()
    assert [path for path, _ in logged] == [None]


def test_a_superseded_workload_frees_its_slot_without_an_event(executor, client):
    workload = make_workload()
    hand_over(executor, workload)
    executor.get_event_buffer()
    client.end(next(iter(client.specs)), JobState.FAILED, exit_code=exit_codes.SUPERSEDED, outcome=Outcome.FAILED)
    executor.sync()
    assert executor.get_event_buffer() == {}
    assert not executor.running


def test_a_cleared_task_gets_the_event_it_waits_for_and_no_complaint(executor, client, logged):
    workload = make_workload()
    hand_over(executor, workload)
    client.end(
        next(iter(client.specs)), JobState.FAILED, exit_code=exit_codes.STOPPED_BY_SERVER, outcome=Outcome.FAILED
    )
    executor.sync()
    # A failure would have it wait for its `retry_delay`.
    assert executor.get_event_buffer()[workload.ti.key][0] == compat.TASK_SUCCEEDED
    assert not executor.has_task(task_instance_of(workload, state="restarting"))
    assert logged == []
    assert audit_log(executor) == []


def test_a_cleared_task_that_succeeds_all_the_same_gets_the_event_it_waits_for(executor, client):
    workload = make_workload()
    hand_over(executor, workload)
    client.end(next(iter(client.specs)))
    executor.sync()
    assert state_of(executor.get_event_buffer()[workload.ti.key]) == "success"
    # Else the scheduler would take the event for that of an earlier section, and leave the task as it is.
    assert not executor.has_task(task_instance_of(workload, state="restarting"))


def test_a_vanished_job_is_lost(executor, client):
    workload = make_workload()
    hand_over(executor, workload)
    client.jobs.clear()
    look_at_everything(executor)
    state, info = executor.get_event_buffer()[workload.ti.key]
    assert state == compat.TASK_FAILED
    assert "lost" in info


def test_an_end_without_a_mark_is_found_by_looking(executor, client):
    workload = make_workload()
    hand_over(executor, workload)
    client.end(next(iter(client.specs)))
    client.ended.clear()
    look_at_everything(executor)
    assert state_of(executor.get_event_buffer()[workload.ti.key]) == "success"


def test_marks_of_others_are_left_alone(executor, client):
    hand_over(executor, make_workload())
    client.ended.append("somebody-elses-job")
    executor.sync()
    assert client.ended == ["somebody-elses-job"]


def test_without_row_locks_no_event_has_the_scheduler_write_a_row(executor, client, monkeypatch):
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "sqlite:////tmp/airflow.db")
    workload = make_workload()
    hand_over(executor, workload)
    assert executor.get_event_buffer() == {}
    assert executor.running == {workload.ti.key}


def test_a_resumed_task_owns_its_key_before_its_former_job_has_ended(executor, client):
    workload = make_workload()
    hand_over(executor, workload)
    (former,) = client.specs
    hand_over(executor, workload)
    (newer,) = set(client.specs) - {former}
    client.end(former)
    executor.sync()
    assert executor.running == {workload.ti.key}
    assert executor.get_event_buffer()[workload.ti.key] == (compat.TASK_QUEUED, newer)
    assert client.ended == []
    client.end(newer)
    executor.sync()
    assert state_of(executor.get_event_buffer()[workload.ti.key]) == "success"


def test_a_task_whose_success_is_on_its_way_to_the_scheduler_counts_as_here(executor, client):
    # Deferred, it may be scheduled anew before; and what is scheduled but nowhere here would be taken for killed.
    workload, other = make_workload(), make_workload(map_index=3)
    hand_over(executor, workload, other)
    first, second = client.specs
    client.end(first)
    client.end(second, JobState.FAILED, signal=9, outcome=Outcome.FAILED)
    executor.sync()
    executor.get_event_buffer()
    assert executor.has_task(task_instance_of(workload, state="scheduled"))
    assert not executor.has_task(task_instance_of(other, state="scheduled"))
    executor.sync()
    assert not executor.has_task(task_instance_of(workload, state="scheduled"))


@pytest.mark.parametrize(
    ("url", "locking", "expected"),
    [
        ("postgresql://localhost/airflow", "True", True),
        ("postgresql://localhost/airflow", "False", False),
        ("postgresql://localhost/airflow", "nonsense", False),
        ("sqlite:////tmp/airflow.db", "True", False),
    ],
)
def test_names_are_stored_only_where_rows_are_locked(monkeypatch, url, locking, expected):
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", url)
    monkeypatch.setenv("AIRFLOW__SCHEDULER__USE_ROW_LEVEL_LOCKING", locking)
    assert compat.has_row_locks() is expected


def test_a_refusal_is_not_covered_by_the_end_of_an_earlier_section(executor, client):
    workload = make_workload()
    hand_over(executor, workload)
    (former,) = client.specs
    executor.get_event_buffer()
    client.fault = SubmissionError("no space left on device")
    client.end(former)
    hand_over(executor, workload)
    assert state_of(executor.get_event_buffer()[workload.ti.key]) == "failed"
    assert client.ended == []


@pytest.mark.parametrize(
    "fault", [SubmissionError("no space left on device"), RootError("chmod go-w it"), OSError(28, "No space left")]
)
def test_a_failed_submission_fails_the_task_and_says_why(executor, client, logged, fault):
    workload = make_workload()
    client.fault = fault
    hand_over(executor, workload)
    state, info = executor.get_event_buffer()[workload.ti.key]
    assert state == compat.TASK_FAILED
    assert str(fault) in info
    assert str(fault) in audit_log(executor)[0]
    assert logged == [(workload.log_path, info)]
    assert not executor.running


def test_a_root_that_cannot_be_used_fails_tasks_and_is_tried_again(monkeypatch, client, logged):
    from air_executor.airflow import executor as module

    def refuse(base_path):
        raise RootError("the root belongs to somebody else")

    usable = module.AirExecutorClient
    monkeypatch.setattr(module, "AirExecutorClient", refuse)
    executor = AirExecutorExecutor(parallelism=4)
    executor.start()
    first, second = make_workload("first"), make_workload("second")
    hand_over(executor, first)
    assert "belongs to somebody else" in executor.get_event_buffer()[first.ti.key][1]
    monkeypatch.setattr(module, "AirExecutorClient", usable)
    hand_over(executor, second)
    assert state_of(executor.get_event_buffer()[second.ti.key]) == "queued"


def test_an_unreadable_root_does_not_stop_the_scheduler(executor, client, monkeypatch):
    hand_over(executor, make_workload())

    def refuse():
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(client, "ended_names", refuse)
    executor.sync()
    executor.end()


def test_it_lingers_for_the_first_end_after_a_dispatch_only(executor, client):
    workload = make_workload()
    executor.queue_workload(workload, session=None)
    executor.trigger_tasks(1)
    (name,) = client.specs
    client.ends_while_waiting.append(name)
    executor.sync()
    assert state_of(executor.get_event_buffer()[workload.ti.key]) == "success"
    assert len(client.waits) == 1
    hand_over(executor, make_workload("other"))
    waits = len(client.waits)
    executor.sync()
    assert len(client.waits) == waits


def test_after_an_end_it_lingers_for_the_others_once(executor, client):
    hand_over(executor, make_workload("first"), make_workload("second"))
    first, second = client.specs
    client.end(first)
    executor.sync()
    waits = len(client.waits)
    # The scheduler would sleep now, through the end of the second.
    client.ends_while_waiting.append(second)
    executor.sync()
    assert len(client.waits) == waits + 1
    assert client.ended == []
    assert len(executor.get_event_buffer()) == 2
    executor.sync()
    assert len(client.waits) == waits + 1


def test_it_does_not_linger_again_where_nothing_ended(executor, client):
    hand_over(executor, make_workload("first"), make_workload("second"))
    client.end(next(iter(client.specs)))
    executor.sync()
    executor.sync()
    waits = len(client.waits)
    executor.sync()
    assert len(client.waits) == waits


def test_an_end_to_report_puts_the_linger_off_until_the_scheduler_would_sleep(executor, client):
    first, second = make_workload("first"), make_workload("second")
    hand_over(executor, first)
    waits = len(client.waits)
    client.end(next(iter(client.specs)))
    hand_over(executor, second)
    assert len(client.waits) == waits
    executor.sync()
    assert len(client.waits) > waits


def test_a_read_error_fails_no_task_and_is_asked_again(executor, client, logged):
    first, second = make_workload("first"), make_workload("second")
    hand_over(executor, first, second)
    executor.get_event_buffer()
    bad, good = client.specs
    client.end(bad)
    client.end(good)
    client.read_faults[bad] = OSError(24, "Too many open files")
    look_at_everything(executor)
    assert list(executor.get_event_buffer()) == [second.ti.key]
    assert client.ended == [bad]
    assert logged == []
    client.read_faults.clear()
    executor.sync()
    assert state_of(executor.get_event_buffer()[first.ti.key]) == "success"


def test_a_task_that_cannot_be_read_is_no_end_either(executor, client, monkeypatch):
    workload = make_workload()
    hand_over(executor, workload)
    executor.get_event_buffer()
    client.end(next(iter(client.specs)), JobState.FAILED, exit_code=1)

    def refuse(name):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(client, "tasks", refuse)
    executor.sync()
    assert executor.get_event_buffer() == {}
    assert executor.running == {workload.ti.key}


def test_damaged_files_get_minutes_to_be_restored(clock, executor, client, logged):
    workload = make_workload()
    hand_over(executor, workload)
    executor.get_event_buffer()
    (name,) = client.specs
    client.read_faults[name] = DamagedFileError("state.json: is not valid JSON")
    for _ in range(5):
        look_at_everything(executor)
        clock.now += 30
    assert executor.get_event_buffer() == {}
    client.read_faults.clear()
    look_at_everything(executor)

    client.read_faults[name] = DamagedFileError("state.json: is not valid JSON")
    clock.now += 1000
    look_at_everything(executor)
    assert executor.get_event_buffer() == {}, "it is damaged anew"
    clock.now += 1000
    look_at_everything(executor)
    look_at_everything(executor)
    state, info = executor.get_event_buffer()[workload.ti.key]
    assert state == compat.TASK_FAILED
    assert "state.json: is not valid JSON" in info


def test_whatever_goes_wrong_stays_out_of_the_scheduler(executor, client, monkeypatch):
    hand_over(executor, make_workload())

    def break_down(*_):
        raise RuntimeError("bug")

    for name in ("ended_names", "job", "job_names", "cancel"):
        monkeypatch.setattr(client, name, break_down)
    look_at_everything(executor)
    orphan = task_instance_of(make_workload("orphan"))
    assert executor.try_adopt_task_instances([orphan]) == []
    executor.revoke_task(ti=orphan)
    look_at_everything(executor)
    executor.end()


@pytest.mark.parametrize(("is_busy", "free"), [(False, 1), (True, 2)])
def test_with_all_slots_taken_a_busy_machine_has_more_of_them_free_for_one_round(executor, client, is_busy, free):
    executor._cpu_wait.was_long = lambda: is_busy
    hand_over(executor, *(make_workload(name) for name in ("a", "b", "c", "d")))
    client.ends_while_waiting += list(client.specs)
    executor.sync()
    assert len(executor.running) == executor.parallelism - free


def test_with_all_slots_taken_it_waits_for_free_ones(executor, client):
    workloads = [make_workload(name) for name in ("a", "b", "c", "d")]
    hand_over(executor, *workloads)
    assert len(executor.running) == executor.parallelism
    executor.sync()
    first, *_ = client.specs
    client.ends_while_waiting.append(first)
    executor.sync()
    assert len(executor.running) == executor.parallelism - 1
    # With a slot free and nothing to take it, it waits for the others as after any end: once.
    executor.sync()
    waits = len(client.waits)
    executor.sync()
    assert len(client.waits) == waits


def test_the_scheduler_is_told_to_go_round_when_something_ended(executor, client):
    pytest.importorskip("airflow.jobs.scheduler_job_runner")
    executor._unrest = compat.find_unrest_event()
    assert executor._unrest is not None
    workload = make_workload()
    hand_over(executor, workload)
    assert set(executor.event_buffer) == {workload.ti.key}
    executor.get_event_buffer()
    client.end(next(iter(client.specs)))
    executor.sync()
    assert set(executor.event_buffer) == {workload.ti.key, executor._unrest[0]}


def test_the_event_for_that_does_nothing_but_keep_this_scheduler_awake(executor, caplog):
    runner = pytest.importorskip("airflow.jobs.scheduler_job_runner").SchedulerJobRunner
    key, value = compat.find_unrest_event()
    executor.event_buffer[key] = value
    # Without a session it could not even look for anything.
    assert runner.process_executor_events(executor, None, None, None) == 1
    assert executor.event_buffer == {}
    assert [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []


def test_a_scheduler_that_would_do_something_with_it_gets_none(monkeypatch):
    runner = pytest.importorskip("airflow.jobs.scheduler_job_runner").SchedulerJobRunner
    monkeypatch.setattr(runner, "process_executor_events", lambda *_: 0)
    assert compat.find_unrest_event() is None

    def refuse(*_):
        raise TypeError("unexpected")

    monkeypatch.setattr(runner, "process_executor_events", refuse)
    assert compat.find_unrest_event() is None


def test_a_mark_that_comes_after_its_end_was_seen_is_removed(executor, client):
    hand_over(executor, make_workload("first"), make_workload("second"))
    executor.get_event_buffer()
    first, _ = client.specs
    client.end(first)
    # The manager writes the state first, and the mark a moment later.
    client.ended.clear()
    look_at_everything(executor)
    assert len(executor.get_event_buffer()) == 1
    client.ended.append(first)
    executor.sync()
    assert client.ended == []
    assert executor.get_event_buffer() == {}


def test_without_events_it_does_not_linger(executor, client):
    client.has_events = False
    hand_over(executor, make_workload())
    assert client.waits == []


def test_an_end_before_the_watch_began_ends_the_linger(executor, client, monkeypatch):
    workload = make_workload()
    executor.queue_workload(workload, session=None)
    executor.trigger_tasks(1)
    watch_ended = client.watch_ended

    def end_first():
        client.end(next(iter(client.specs)))
        return watch_ended()

    monkeypatch.setattr(client, "watch_ended", end_first)
    executor.sync()
    assert client.waits == []
    assert state_of(executor.get_event_buffer()[workload.ti.key]) == "success"


def test_a_full_batch_puts_the_linger_off_because_more_may_be_behind_it(executor, client):
    executor._batch_size = 2
    hand_over(executor, make_workload("first"), make_workload("second"))
    assert client.waits == []
    executor.sync()
    assert len(client.waits) == 1


def test_callbacks_are_reported_with_states_of_their_own(executor, client, logged):
    good, bad = make_callback(), make_callback()
    hand_over(executor, good, bad)
    states = [state_of(event) for event in executor.get_event_buffer().values()]
    assert states == ["running", "running"]
    first, second = client.specs
    client.end(first)
    client.end(second, JobState.FAILED, exit_code=70, outcome=Outcome.FAILED)
    executor.sync()
    events = executor.get_event_buffer()
    assert state_of(events[compat.get_key(good)]) == "success"
    assert state_of(events[compat.get_key(bad)]) == "failed"
    assert audit_log(executor) == []
    assert client.specs[first].labels["kind"] == "callback"


def test_connection_tests_are_run(executor, client):
    workload = make_connection_test()
    hand_over(executor, workload)
    (name,) = client.specs
    assert client.specs[name].labels["kind"] == "connection-test"
    client.end(name)
    executor.sync()
    assert state_of(executor.get_event_buffer()[workload.key]) == "success"


def test_a_living_job_is_adopted_by_its_id(executor, client):
    workload = make_workload()
    hand_over(executor, workload)
    (name,) = client.specs
    heir = AirExecutorExecutor(parallelism=4)
    heir.start()
    assert heir.try_adopt_task_instances([task_instance_of(workload, job_name=name)]) == []
    assert heir.running == {workload.ti.key}
    assert heir.get_event_buffer() == {}
    client.end(name)
    heir.sync()
    assert state_of(heir.get_event_buffer()[workload.ti.key]) == "success"


def test_a_job_whose_id_was_not_committed_is_found_by_its_prefix(executor, client):
    workload = make_workload()
    hand_over(executor, workload)
    (name,) = client.specs
    heir = AirExecutorExecutor(parallelism=4)
    heir.start()
    assert heir.try_adopt_task_instances([task_instance_of(workload, state="queued")]) == []
    assert heir.get_event_buffer() == {workload.ti.key: (compat.TASK_QUEUED, name)}


def test_who_adopts_takes_the_marks_that_a_dead_scheduler_left(executor, client):
    workload, other = make_workload(), make_workload("other")
    hand_over(executor, workload, other)
    name, name_of_other = client.specs
    client.end(name)
    client.end(name_of_other)
    heir = AirExecutorExecutor(parallelism=4)
    heir.start()
    heir.sync()
    assert len(client.ended) == 2, "they are not its own yet"
    assert heir.try_adopt_task_instances([task_instance_of(workload)]) == []
    heir.sync()
    assert state_of(heir.get_event_buffer()[workload.ti.key]) == "success"
    assert client.ended == [name_of_other]


@pytest.mark.parametrize("what", ["everything", "one job"])
def test_what_cannot_be_read_is_adopted_later_instead_of_run_twice(executor, client, what):
    workload = make_workload()
    hand_over(executor, workload)
    (name,) = client.specs
    heir = AirExecutorExecutor(parallelism=4)
    heir.start()
    client.read_faults["" if what == "everything" else name] = OSError(24, "Too many open files")
    assert heir.try_adopt_task_instances([task_instance_of(workload)]) == []
    look_at_everything(heir)
    assert heir.running == {workload.ti.key}
    client.read_faults.clear()
    client.end(name)
    look_at_everything(heir)
    assert state_of(heir.get_event_buffer()[workload.ti.key]) == "success"
    assert not heir.running


def test_what_turns_out_to_have_no_job_frees_its_slot(executor, client):
    client.read_faults[""] = OSError(24, "Too many open files")
    executor.try_adopt_task_instances([task_instance_of(make_workload())])
    client.read_faults.clear()
    look_at_everything(executor)
    assert not executor.running
    assert executor.get_event_buffer() == {}


def test_a_job_whose_files_are_damaged_is_adopted_rather_than_run_twice(executor, client):
    workload = make_workload()
    hand_over(executor, workload)
    (name,) = client.specs
    heir = AirExecutorExecutor(parallelism=4)
    heir.start()
    client.read_faults[name] = DamagedFileError("state.json: is not valid JSON")
    assert heir.try_adopt_task_instances([task_instance_of(workload)]) == []
    client.read_faults.clear()
    client.end(name)
    heir.sync()
    assert state_of(heir.get_event_buffer()[workload.ti.key]) == "success"


def test_of_several_sections_of_a_try_the_newest_is_adopted(executor, client):
    workload = make_workload()
    hand_over(executor, workload)
    (former,) = client.specs
    client.end(former)
    executor.sync()
    time.sleep(0.002)  # names tell apart milliseconds
    hand_over(executor, workload)
    (newer,) = set(client.specs) - {former}
    heir = AirExecutorExecutor(parallelism=4)
    heir.start()
    ti = task_instance_of(workload, state="queued", job_name=former)
    assert heir.try_adopt_task_instances([ti]) == []
    assert heir.get_event_buffer() == {workload.ti.key: (compat.TASK_QUEUED, newer)}
    client.end(newer)
    heir.sync()
    assert state_of(heir.get_event_buffer()[workload.ti.key]) == "success"


def test_a_job_that_two_schedulers_wait_for_is_reported_by_both(executor, client):
    # The one that was believed dead may only have stood still; Airflow drops the event of who no longer owns it.
    workload = make_workload()
    hand_over(executor, workload)
    executor.get_event_buffer()
    heir = AirExecutorExecutor(parallelism=4)
    heir.start()
    heir.try_adopt_task_instances([task_instance_of(workload)])
    client.end(next(iter(client.specs)))
    heir.sync()
    assert client.ended == []
    look_at_everything(executor)
    for one in (executor, heir):
        assert state_of(one.get_event_buffer()[workload.ti.key]) == "success"


def test_a_cleared_task_that_runs_is_adopted(executor, client):
    workload = make_workload()
    hand_over(executor, workload)
    heir = AirExecutorExecutor(parallelism=4)
    heir.start()
    assert heir.try_adopt_task_instances([task_instance_of(workload, state="restarting")]) == []
    client.end(
        next(iter(client.specs)), JobState.FAILED, exit_code=exit_codes.STOPPED_BY_SERVER, outcome=Outcome.FAILED
    )
    heir.sync()
    assert heir.get_event_buffer()[workload.ti.key][0] == compat.TASK_SUCCEEDED


def test_a_cleared_task_is_adopted_under_its_new_id(executor, client):
    workload, other = make_workload(), make_workload(map_index=3)
    hand_over(executor, workload, other)
    names = list(client.specs)
    heir = AirExecutorExecutor(parallelism=4)
    heir.start()
    orphans = [
        task_instance_of(workload, state="restarting", job_name=names[0]),
        task_instance_of(other, state="queued", job_name=names[1]),
    ]
    for orphan in orphans:
        orphan.id = "019ab3c0-0000-7000-8000-00000000000f"
    # What is queued under a new id is another try, and has nothing to do with the job of the former.
    assert heir.try_adopt_task_instances(orphans) == [orphans[1]]
    assert heir.running == {workload.ti.key}


def test_what_has_no_job_is_not_adopted(executor):
    stranger = task_instance_of(make_workload("stranger"), job_name="celery-id")
    assert executor.try_adopt_task_instances([stranger]) == [stranger]
    assert not executor.running


def test_an_end_that_the_former_scheduler_read_is_reported_again_for_a_running_task(executor, client, logged):
    workload = make_workload()
    hand_over(executor, workload)
    (name,) = client.specs
    client.end(name, JobState.FAILED, signal=9, outcome=Outcome.FAILED)
    client.ended.clear()
    heir = AirExecutorExecutor(parallelism=4)
    heir.start()
    assert heir.try_adopt_task_instances([task_instance_of(workload, job_name=name)]) == []
    heir.sync()
    assert heir.get_event_buffer()[workload.ti.key][0] == compat.TASK_FAILED


def test_a_resumed_task_that_never_started_is_not_taken_for_its_completed_section(executor, client):
    workload = make_workload()
    hand_over(executor, workload)
    (name,) = client.specs
    client.end(name)
    heir = AirExecutorExecutor(parallelism=4)
    heir.start()
    queued = task_instance_of(workload, state="queued", job_name=name)
    assert heir.try_adopt_task_instances([queued]) == [queued]


def test_revoking_cancels_the_job_and_reports_nothing(executor, client):
    workload = make_workload()
    hand_over(executor, workload)
    executor.get_event_buffer()
    (name,) = client.specs
    executor.revoke_task(ti=task_instance_of(workload, job_name=name))
    assert client.cancelled == [name]
    assert not executor.running
    client.end(name, JobState.CANCELLED)
    executor.sync()
    assert executor.get_event_buffer() == {}
    assert client.ended == []


@pytest.mark.parametrize("is_missing", [True, False])
def test_a_revoked_job_is_forgotten_although_its_mark_never_comes(executor, client, is_missing):
    workload = make_workload()
    hand_over(executor, workload)
    executor.revoke_task(ti=task_instance_of(workload))
    look_at_everything(executor)
    assert len(executor._dismissed) == 1
    if is_missing:
        client.jobs.clear()
    else:
        client.end(next(iter(client.specs)), JobState.CANCELLED)
        client.ended.clear()
    look_at_everything(executor)
    assert len(executor._dismissed) == 0


@pytest.mark.parametrize("is_tracked", [True, False])
def test_a_cancellation_that_could_not_be_asked_for_is_asked_for_again(executor, client, is_tracked):
    workload = make_workload()
    hand_over(executor, workload)
    (name,) = client.specs
    if not is_tracked:
        executor._jobs.remove(executor._jobs.get(name))
        client.read_faults[""] = OSError(24, "Too many open files")
    client.read_faults[name] = OSError(24, "Too many open files")
    executor.revoke_task(ti=task_instance_of(workload, job_name=name))
    assert client.cancelled == []
    client.read_faults.clear()
    look_at_everything(executor)
    look_at_everything(executor)
    assert client.cancelled == [name]


def test_revoking_what_is_still_queued_takes_it_out(executor, client):
    workload = make_workload()
    executor.queue_workload(workload, session=None)
    executor.revoke_task(ti=task_instance_of(workload, state="queued"))
    executor.heartbeat()
    assert client.specs == {}


def test_revoking_raises_nothing(executor, client):
    executor.revoke_task(ti=SimpleNamespace())
    workload = make_workload()
    hand_over(executor, workload)
    client.jobs.clear()
    executor.revoke_task(ti=task_instance_of(workload))


def test_the_log_of_a_running_task_names_its_job(executor, client, monkeypatch, tmp_path):
    workload = make_workload()
    hand_over(executor, workload)
    (name,) = client.specs
    client.write_output(name, "loading")
    monkeypatch.setattr("air_executor.airflow.executor.task_log.find_file", lambda log_path: tmp_path)
    ti = task_instance_of(workload, job_name=name)
    sources, logs = AirExecutorExecutor().get_task_log(ti, 1)
    assert name in sources[0]
    assert logs == ["loading"]
    assert AirExecutorExecutor().get_task_log(ti, 2) == ([], [])


def test_the_log_server_is_asked_where_the_log_is_not_on_this_machine(executor, client, monkeypatch, tmp_path):
    workload = make_workload()
    hand_over(executor, workload)
    monkeypatch.setattr("air_executor.airflow.executor.task_log.find_file", lambda log_path: tmp_path / "none")
    ti = task_instance_of(workload, job_name=next(iter(client.specs)))
    assert AirExecutorExecutor().get_task_log(ti, 1) == ([], [])


def test_the_end_reports_what_has_ended_and_leaves_the_rest(executor, client):
    done, running = make_workload("done"), make_workload("running")
    hand_over(executor, done, running)
    client.end(next(iter(client.specs)))
    executor.end()
    assert state_of(executor.get_event_buffer()[done.ti.key]) == "success"
    assert client.cancelled == []
    executor.terminate()


def test_teams_do_not_share_a_directory(client, monkeypatch):
    executor = AirExecutorExecutor(parallelism=4)
    base = executor._base_path
    executor.team_name = "blue"
    assert executor._base_path == base.with_name(f"{base.name}-blue")


def test_task_keys_are_known_from_others():
    assert compat.is_task_key(make_workload().ti.key)
    assert not compat.is_task_key("7c9e6679-7425-40de-944b-e07fc1f90ae7")
