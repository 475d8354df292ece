from __future__ import annotations

import pytest

from air_executor.airflow import sdk_compat
from air_executor.airflow.job_observer import JobObserver, history_key
from air_executor.client import AirExecutorClient
from air_executor.core.states import JobState, TaskStatus
from air_executor.errors import JobNotFoundError
from tests.support.jobs import at
from tests.support.written_jobs import write_job

DONE, RUNNING, PENDING = TaskStatus.COMPLETED, TaskStatus.RUNNING, TaskStatus.PENDING


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def client(tmp_path, monkeypatch):
    client = AirExecutorClient(tmp_path / "root")
    monkeypatch.setattr(client, "manager_is_running", lambda: True)
    return client


@pytest.fixture
def gauges(monkeypatch):
    seen: dict[str, tuple[float, dict[str, str]]] = {}
    monkeypatch.setattr(sdk_compat, "set_task_gauge", lambda name, number, tags: seen.update({name: (number, tags)}))
    return seen


@pytest.fixture
def observer(client, clock, gauges):
    return JobObserver(client, "job", report_interval_s=5, tags={"dag_id": "sales"}, clock=clock)


def test_nothing_is_told_twice(client, clock, observer):
    write_job(client, "job", tasks={"a": RUNNING})
    view = observer.look()
    assert observer.has_news(view)
    observer.tell(view)

    clock.now = 1000
    assert not observer.has_news(observer.look())
    write_job(client, "job", tasks={"a": DONE, "b": RUNNING})
    assert observer.has_news(observer.look())


def test_news_in_quick_succession_wait(client, clock, observer):
    write_job(client, "job", tasks={"a": RUNNING})
    observer.tell(observer.look())
    write_job(client, "job", tasks={"a": DONE, "b": RUNNING})

    clock.now = 3
    view = observer.look()

    assert not observer.has_news(view)
    assert observer.pause_s(view) == 2


def test_totals_and_history_go_to_xcom(client, observer):
    write_job(client, "job", tasks={"a": DONE, "b": TaskStatus.FAILED, "c": RUNNING, "d": PENDING})

    xcoms = observer.tell(observer.look()).xcoms

    history = xcoms.pop(history_key("job"))
    assert dict(xcoms) == {"total_tasks": 4, "completed_tasks": 1, "failed_tasks": 1, "progress_percent": 50.0}
    assert history[-1]["completed"] == 1


def test_history_is_whole_after_a_restart_of_whoever_looks(client, clock, observer):
    write_job(client, "job", JobState.COMPLETED, {"a": DONE, "b": DONE})

    history = observer.tell(observer.look()).xcoms["progress_history_job"]

    assert [point["completed"] for point in history] == [0, 0, 2]


def test_metrics_have_static_names_and_ids_as_tags(client, observer, gauges):
    write_job(client, "job", tasks={"a": DONE, "b": RUNNING})

    observer.tell(observer.look())

    tags = {"dag_id": "sales", "job_name": "job"}
    assert gauges == {
        "air_executor.job.total_tasks": (2, tags),
        "air_executor.job.completed_tasks": (1, tags),
        "air_executor.job.running_tasks": (1, tags),
        "air_executor.job.failed_tasks": (0, tags),
        "air_executor.job.pending_tasks": (0, tags),
        "air_executor.job.progress_percent": (50.0, tags),
    }


def test_end_before_the_job_was_run_again_does_not_count(client, clock):
    write_job(client, "job", JobState.FAILED, seconds=10)
    observer = JobObserver(client, "job", after=at(10), clock=clock)
    assert not observer.is_over(observer.look())

    write_job(client, "job", JobState.FAILED, seconds=11)
    assert observer.is_over(observer.look())


def test_absent_manager_is_news_with_the_remedy(client, clock, observer, monkeypatch):
    write_job(client, "job", tasks={"a": PENDING})
    observer.tell(observer.look())
    monkeypatch.setattr(client, "manager_is_running", lambda: False)

    clock.now = 60
    view = observer.look()

    assert observer.has_news(view)
    assert "No manager runs" in observer.tell(view).report
    assert "air-executor manager start" in observer.tell(view).report


def test_tasks_that_cannot_be_read_now_are_left_out(client, observer):
    directory = write_job(client, "job", tasks={"a": DONE})
    (directory / "tasks.json").write_text("[{")

    assert "Completed:     1" in observer.tell(observer.look()).report


def test_job_that_is_gone_is_an_error(observer):
    with pytest.raises(JobNotFoundError):
        observer.look()
