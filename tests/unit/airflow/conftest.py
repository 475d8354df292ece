"""A client without files, an executor on top of it, and workloads of every Airflow version."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.airflow_home import make_home

# Before Airflow is imported anywhere: it writes its configuration file at import, and not into the home of a developer.
os.environ.setdefault("AIRFLOW_HOME", make_home())

# With the models, as in a scheduler: 3.1 cannot make an audit log entry without all of them.
pytest.importorskip("airflow.models.dag", reason="Airflow is not installed")

from air_executor.airflow import executor as executor_module
from air_executor.airflow.executor import AirExecutorExecutor
from air_executor.core.events import Outcome
from air_executor.core.specs import JobSpec
from air_executor.core.states import JobState, TaskStatus
from air_executor.errors import JobNotFoundError

TOKEN = "canary-9d41f0c2"


@dataclass
class FakeTaskView:
    status: TaskStatus = TaskStatus.PENDING
    error: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    attempt: int = 1
    outcome: Outcome | None = None


@dataclass
class FakeJobView:
    name: str
    labels: Mapping[str, str]
    state: JobState = JobState.WAITING
    error: str | None = None


@dataclass
class FakeWatch:
    client: FakeClient
    is_live: bool = True
    is_closed: bool = False

    def wait(self, timeout_s: float) -> bool:
        self.client.waits.append(timeout_s)
        if self.client.ends_while_waiting:
            self.client.end(self.client.ends_while_waiting.pop(0))
            return True
        time.sleep(timeout_s)
        return False

    def close(self) -> None:
        self.is_closed = True


@dataclass
class FakeClient:
    base_path: Path = Path("/nowhere/air-executor")
    specs: dict[str, JobSpec] = field(default_factory=dict)
    attachments: dict[str, Mapping[str, bytes]] = field(default_factory=dict)
    jobs: dict[str, FakeJobView] = field(default_factory=dict)
    task_views: dict[str, FakeTaskView] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)
    logs: Path = Path("/nowhere")
    cancelled: list[str] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    ends_while_waiting: list[str] = field(default_factory=list)
    has_events: bool = True
    fault: Exception | None = None
    read_faults: dict[str, Exception] = field(default_factory=dict)
    """What reading raises, by job name; "" is for the listings."""
    has_manager: bool = True
    starts: list[dict[str, Any]] = field(default_factory=list)
    environments: list[tuple[str, dict[str, str], str]] = field(default_factory=list)
    warmed_up: list[str] = field(default_factory=list)

    def submit(self, spec: JobSpec, attachments: Mapping[str, bytes] = {}, *, exist_ok: bool = False) -> str:
        if self.fault is not None:
            raise self.fault
        self.specs[spec.name] = spec
        self.attachments[spec.name] = attachments
        self.jobs[spec.name] = FakeJobView(spec.name, spec.labels)
        self.task_views[spec.name] = FakeTaskView()
        return spec.name

    def end(self, name: str, state: JobState = JobState.COMPLETED, **fields: Any) -> None:
        self.jobs[name].state = state
        status = {JobState.COMPLETED: TaskStatus.COMPLETED, JobState.FAILED: TaskStatus.FAILED}
        self.task_views[name] = FakeTaskView(status.get(state, TaskStatus.CANCELLED), **fields)
        self.ended.append(name)

    def _find(self, name: str) -> FakeJobView:
        if name in self.read_faults:
            raise self.read_faults[name]
        if name not in self.jobs:
            raise JobNotFoundError
        return self.jobs[name]

    def job(self, name: str) -> FakeJobView:
        return self._find(name)

    def tasks(self, name: str) -> list[FakeTaskView]:
        self._find(name)
        return [self.task_views[name]]

    def _list(self, names: Iterable[str]) -> list[str]:
        if "" in self.read_faults:
            raise self.read_faults[""]
        return list(names)

    def job_names(self) -> list[str]:
        return self._list(self.jobs)

    def job_path(self, name: str) -> Path:
        return self.base_path / "jobs" / name

    def cancel(self, name: str, reason: str = "") -> None:
        self._find(name)
        self.cancelled.append(name)

    def ended_names(self) -> list[str]:
        return self._list(self.ended)

    def forget_ended(self, name: str) -> None:
        if name in self.ended:
            self.ended.remove(name)

    def watch_ended(self) -> FakeWatch:
        return FakeWatch(self, is_live=self.has_events)

    def log_path(self, name: str, task_id: str, attempt: int) -> Path:
        return self.logs / f"{name}.{attempt}.log"

    def write_output(self, name: str, text: str) -> None:
        self.log_path(name, "airflow-task", 1).write_text(text)

    def save_environment(self, python: str, variables: Mapping[str, str], cwd: str) -> str:
        self.environments.append((python, dict(variables), cwd))
        return "digest"

    def warm_up(self, environment: str) -> None:
        self.warmed_up.append(environment)

    def manager_is_running(self) -> bool:
        return self.has_manager

    def ensure_manager(self, wait_s: float, **options: Any) -> int:
        self.starts.append(options)
        self.has_manager = True
        return 4711


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeClient:
    fake = FakeClient(logs=tmp_path)
    monkeypatch.setattr(executor_module, "AirExecutorClient", lambda base_path: fake)
    monkeypatch.setenv("AIRFLOW__AIR_EXECUTOR__SYNC_LINGER", "0.01")
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "postgresql://localhost/never-opened")
    return fake


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str | None, str]]:
    """What went into the logs of task instances."""
    events: list[tuple[str | None, str]] = []

    def append(log_path: str | None, event: str, **_: Any) -> bool:
        events.append((log_path, event))
        return True

    monkeypatch.setattr(executor_module.task_log, "append_event", append)
    return events


@pytest.fixture
def executor(client: FakeClient, logged: list[tuple[str | None, str]]) -> Iterator[AirExecutorExecutor]:
    executor = AirExecutorExecutor(parallelism=4)
    # Not as busy as this machine happens to be.
    executor._cpu_wait.was_long = lambda: False  # type: ignore[method-assign]
    executor.start()
    yield executor
    executor.end()


def make_workload(task_id: str = "extract", *, priority: int = 1, try_number: int = 1, map_index: int = -1) -> Any:
    from airflow.executors import workloads

    task_instance = {
        "id": str(uuid.uuid4()),
        "dag_version_id": str(uuid.uuid4()),
        "task_id": task_id,
        "dag_id": "sales",
        "run_id": "manual__2025-10-02T07:30:00+00:00",
        "try_number": try_number,
        "map_index": map_index,
        "pool_slots": 1,
        "queue": "default",
        "priority_weight": priority,
    }
    return workloads.ExecuteTask.model_validate(
        {
            "ti": task_instance,
            "dag_rel_path": "sales.py",
            "token": TOKEN,
            "log_path": f"dag_id=sales/task_id={task_id}/attempt={try_number}.log",
            "bundle_info": {"name": "dags-folder"},
        }
    )


def make_callback() -> Any:
    from airflow.executors import workloads

    if not hasattr(workloads, "ExecuteCallback"):
        pytest.skip("this Airflow has no callbacks for executors")
    return workloads.ExecuteCallback.model_validate(
        {
            "callback": {
                "id": str(uuid.uuid4()),
                "fetch_method": "import_path",
                "data": {"path": "alerts.notify", "kwargs": {}},
            },
            "dag_rel_path": "sales.py",
            "token": TOKEN,
            "log_path": "executor_callbacks/sales/1",
            "bundle_info": {"name": "dags-folder"},
        }
    )


def make_connection_test() -> Any:
    from airflow.executors import workloads

    if not hasattr(workloads, "TestConnection"):
        pytest.skip("this Airflow does not test connections in executors")
    return workloads.TestConnection(connection_test_id=uuid.uuid4(), connection_id="warehouse", timeout=10, token=TOKEN)
