"""The plugin's application with somebody logged in, whose permissions a test chooses."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.airflow_home import make_home

# Before Airflow is imported anywhere: it writes its configuration file at import, and not into the home of a developer.
os.environ.setdefault("AIRFLOW_HOME", make_home())

pytest.importorskip("airflow.api_fastapi.core_api.security", reason="Airflow is not installed")

from air_executor_plugin import access
from air_executor_plugin.app import make_app
from fastapi.testclient import TestClient

from air_executor.client import AirExecutorClient
from air_executor.core.specs import JobSpec, TaskSpec


@dataclass
class FakeAuthManager:
    """Knows one user, and what that user may see."""

    task_instances: set[str] = field(default_factory=set)
    task_logs: set[str] = field(default_factory=set)
    may_see_views: bool = False
    asked: list[str | None] = field(default_factory=list)

    def is_authorized_dag(self, *, method, user, access_entity=None, details=None) -> bool:
        assert method == "GET"
        dag_id = details.id if details else None
        self.asked.append(dag_id)
        allowed = self.task_logs if access_entity is access.DagAccessEntity.TASK_LOGS else self.task_instances
        return bool(allowed) if dag_id is None else dag_id in allowed

    def get_authorized_dag_ids(self, *, user, method) -> set[str]:
        return self.task_instances

    def is_authorized_view(self, *, access_view, user) -> bool:
        assert access_view is access.AccessView.JOBS
        return self.may_see_views


@pytest.fixture
def manager(monkeypatch) -> FakeAuthManager:
    made = FakeAuthManager()
    monkeypatch.setattr(access, "get_auth_manager", lambda: made)
    # It asks the metadata database, which these tests have none of.
    monkeypatch.setattr(access.DagModel, "get_team_name", lambda dag_id: None)
    return made


@pytest.fixture
def jobs(tmp_path, monkeypatch) -> AirExecutorClient:
    """Jobs of two DAGs and one of no DAG; no manager runs."""
    base_path = tmp_path / "jobs-of-test"
    monkeypatch.setenv("AIR_EXECUTOR_BASE_PATH", str(base_path))
    client = AirExecutorClient(base_path)
    for name, labels in (
        ("sales-1", {"dag_id": "sales", "kind": "hand-over"}),
        ("wages-1", {"dag_id": "wages", "kind": "task"}),
        ("by-hand", {}),
    ):
        client.submit(JobSpec(name=name, tasks=(TaskSpec(id="a/b", command="true"),), labels=labels))
    return client


@pytest.fixture
def anonymous(jobs: AirExecutorClient, manager: FakeAuthManager) -> Iterator[TestClient]:
    with TestClient(make_app()) as client:
        yield client


@pytest.fixture
def browser(jobs: AirExecutorClient, manager: FakeAuthManager) -> Iterator[TestClient]:
    """Somebody who is logged in."""
    app = make_app()
    app.dependency_overrides[access.get_user] = lambda: "somebody"
    with TestClient(app) as client:
        yield client


@pytest.fixture
def page_directory() -> Path:
    return Path(access.__file__).parent / "page"
