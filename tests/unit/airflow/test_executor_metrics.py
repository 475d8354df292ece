"""What the executor reports to Airflow's metrics, and that it reads nothing for them where nobody listens."""

from __future__ import annotations

import socket
from types import SimpleNamespace

import pytest

from air_executor.airflow import compat
from air_executor.airflow.executor import AirExecutorExecutor
from air_executor.core.events import Outcome
from air_executor.core.states import JobState
from air_executor.errors import DamagedFileError, SubmissionError
from air_executor.store.records import utc_now
from air_executor.store.status import ManagerStatus, ServerStatus
from tests.support.jobs import at
from tests.unit.airflow.conftest import make_callback, make_workload

VERBS = ("gauge", "incr", "timing")


@pytest.fixture
def reports(monkeypatch):
    """What was reported, in order: (verb, name, number, tags)."""
    reports = []

    def record(verb):
        return lambda name, number, tags=None: reports.append((verb, name, number, tags or {}))

    monkeypatch.setattr(compat, "_metrics", SimpleNamespace(**{verb: record(verb) for verb in VERBS}))
    monkeypatch.setattr(compat, "metrics_are_on", lambda: True)
    return reports


@pytest.fixture
def metered(reports, client, logged):
    """An executor with somebody to report to."""
    client.manager_status = lambda: None
    executor = AirExecutorExecutor(parallelism=4)
    executor.start()
    yield executor
    executor.end()


def hand_over(executor, *workloads):
    for workload in workloads:
        executor.queue_workload(workload, session=None)
    executor.heartbeat()


def named(reports, name):
    return [(number, tags) for _, each, number, tags in reports if each == f"air_executor.{name}"]


def end(client, name, state=JobState.COMPLETED, **fields):
    client.end(name, state)
    task = client.task_views[name]
    times = {"created_at": at(0), "started_at": at(2), "completed_at": at(5), **fields}
    for field, value in times.items():
        setattr(task, field, value)


def test_a_loop_is_told_in_a_few_reports_however_many_tasks_there_were(metered, client, reports):
    hand_over(metered, *(make_workload(f"task-{n}") for n in range(3)))
    assert named(reports, "dispatched") == [(3, {})]
    assert len(named(reports, "dispatch_duration")) == 1
    assert named(reports, "dispatch_failures") == []
    assert named(reports, "jobs")[-1] == (3, {})
    for name in client.jobs:
        end(client, name)
    reports.clear()
    metered.sync()
    assert named(reports, "ended") == [(3, {"verdict": "succeeded"})]
    assert named(reports, "jobs") == [(0, {})]
    metered.sync()
    assert len(named(reports, "ended")) == 1


def test_times_are_reported_in_milliseconds_with_ids_as_tags(metered, client, reports):
    hand_over(metered, make_workload("extract"))
    end(client, next(iter(client.jobs)))
    metered.sync()
    tags = {"dag_id": "sales", "task_id": "extract"}
    assert named(reports, "queue_to_start") == [(2000.0, tags)]
    assert named(reports, "run_duration") == [(3000.0, tags)]


def test_a_callback_has_no_ids(metered, client, reports):
    hand_over(metered, make_callback())
    end(client, next(iter(client.jobs)))
    metered.sync()
    assert named(reports, "queue_to_start") == [(2000.0, {})]


def test_failures_are_reported_with_their_outcome(metered, client, reports):
    hand_over(metered, make_workload("a"), make_workload("b"))
    first, second = client.jobs
    end(client, first, JobState.FAILED, outcome=Outcome.OUT_OF_MEMORY)
    end(client, second, JobState.FAILED, outcome=Outcome.NOT_STARTED, started_at=None)
    metered.sync()
    assert named(reports, "ended") == [(2, {"verdict": "failed"})]
    assert named(reports, "failures") == [(1, {"outcome": "out_of_memory"}), (1, {"outcome": "not_started"})]
    assert len(named(reports, "queue_to_start")) == 1


def test_a_workload_that_could_not_be_submitted_is_a_dispatch_failure(metered, client, reports):
    client.fault = SubmissionError("the disk is full")
    hand_over(metered, make_workload())
    assert named(reports, "dispatch_failures") == [(1, {})]
    assert named(reports, "dispatched") == []


def test_files_that_cannot_be_read_for_metrics_change_no_end(metered, client, reports):
    def refuse(name):
        raise DamagedFileError("tasks.json is damaged")

    workload = make_workload()
    hand_over(metered, workload)
    client.end(next(iter(client.jobs)))
    client.tasks = refuse
    metered.sync()
    event = metered.get_event_buffer()[workload.ti.key]
    assert getattr(event[0], "value", event[0]) == "success"
    assert named(reports, "ended") == [(1, {"verdict": "succeeded"})]


def test_the_manager_and_its_warm_parents_are_reported_now_and_then(metered, client, reports):
    servers = (
        ServerStatus(kind="airflow", pid=1, is_ready=True, running=2),
        ServerStatus(kind="airflow", pid=2, is_ready=False, running=0),
        ServerStatus(kind="command", pid=3, is_ready=True, running=0),
    )
    client.manager_status = lambda: ManagerStatus(
        pid=7, started_at=utc_now(), slots=16, running=2, jobs=2, is_draining=False, servers=servers
    )
    for _ in range(3):
        metered.sync()
    wanted = {
        "manager.up": 1,
        "manager.slots": 16,
        "manager.attempts": 2,
        "warm_parents.ready": 1,
        "warm_parents.loading": 1,
    }
    assert {name: named(reports, name) for name in wanted} == {name: [(n, {})] for name, n in wanted.items()}


def test_a_manager_that_is_gone_is_reported(metered, reports):
    metered.sync()
    assert named(reports, "manager.up") == named(reports, "warm_parents.ready") == [(0, {})]


def test_without_a_listener_nothing_is_read_or_reported(client, logged, reports, monkeypatch):
    monkeypatch.setattr(compat, "metrics_are_on", lambda: False)
    executor = AirExecutorExecutor(parallelism=4)
    executor.start()
    hand_over(executor, make_workload())
    client.end(next(iter(client.jobs)))
    client.tasks = None
    executor.sync()
    executor.end()
    assert reports == []


def test_a_backend_that_raises_stops_nothing(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("no such host")

    monkeypatch.setattr(compat, "_metrics", SimpleNamespace(**dict.fromkeys(VERBS, fail)))
    compat.set_gauge("air_executor.jobs", 1)
    compat.count("air_executor.ended", 1, {"verdict": "failed"})
    compat.record_time("air_executor.run_duration", 1.0)


@pytest.mark.parametrize("switch", ["STATSD_ON", "STATSD_DATADOG_ENABLED", "OTEL_ON"])
def test_each_backend_of_airflow_turns_them_on(monkeypatch, switch):
    assert compat.metrics_are_on() is False
    monkeypatch.setenv(f"AIRFLOW__METRICS__{switch}", "True")
    assert compat.metrics_are_on() is True


def test_a_switch_that_is_no_boolean_turns_nothing_on(monkeypatch):
    monkeypatch.setenv("AIRFLOW__METRICS__STATSD_ON", "perhaps")
    assert compat.metrics_are_on() is False


def test_airflow_has_each_way_of_reporting():
    assert all(callable(getattr(compat._metrics, verb)) for verb in VERBS)


def test_reports_go_to_what_airflow_has_set_up_by_then(monkeypatch, reports):
    compat.set_gauge("air_executor.jobs", 1)
    later = []
    monkeypatch.setattr(compat._metrics, "gauge", lambda name, number: later.append((name, number)))
    compat.set_gauge("air_executor.jobs", 2)
    assert (named(reports, "jobs"), later) == ([(1, {})], [("air_executor.jobs", 2)])


def test_an_airflow_without_metrics_stops_nothing(monkeypatch):
    monkeypatch.setattr(compat, "_metrics", None)
    compat.set_gauge("air_executor.jobs", 1)


def test_a_statsd_client_of_airflow_takes_what_is_reported(monkeypatch):
    statsd = pytest.importorskip("statsd")
    logger_class = compat.find(
        "airflow._shared.observability.metrics.statsd_logger", "SafeStatsdLogger"
    ) or compat.find("airflow.metrics.statsd_logger", "SafeStatsdLogger")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(10)
        client = statsd.StatsClient("127.0.0.1", listener.getsockname()[1], "airflow")
        logger = logger_class(client, SimpleNamespace(test=lambda _: True))
        monkeypatch.setattr(compat, "_metrics", logger)
        compat.set_gauge("air_executor.jobs", 3)
        compat.count("air_executor.ended", 2, {"verdict": "failed"})
        compat.record_time("air_executor.run_duration", 1.5, {"dag_id": "sales"})
        received = [listener.recv(512).decode() for _ in range(3)]
        client.close()
    assert received == [
        "airflow.air_executor.jobs:3|g",
        "airflow.air_executor.ended:2|c",
        "airflow.air_executor.run_duration:1500.000000|ms",
    ]
