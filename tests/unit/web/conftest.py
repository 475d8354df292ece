"""Jobs as files, without a manager, and their routes without a server."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from air_executor.client import AirExecutorClient
from air_executor.core.states import JobState, TaskStatus
from air_executor.store.files import create_file
from air_executor.store.records import StateRecord, TaskRecord
from air_executor.store.views import encode_state, encode_tasks
from air_executor.web.api import make_router
from tests.support.jobs import at


def record(task_id: str, status: str = "pending", **fields: Any) -> TaskRecord:
    """Return an element of tasks.json."""
    values: dict[str, Any] = {"command": "true", "args": (), "dependencies": (), "error": None}
    values |= {"started_at": None, "completed_at": None, "created_at": at(0), "job_name": "job"}
    return TaskRecord(**{**values, **fields}, id=task_id, status=TaskStatus(status))


def ran(task_id: str, status: str = "completed", start: float = 1, took: float = 1, **fields: Any) -> TaskRecord:
    """Return one that was started; `start` and `took` are seconds."""
    ended = {} if status == "running" else {"completed_at": at(start + took)}
    return record(task_id, status, **{"started_at": at(start), "attempt": 1, **ended, **fields})


class Jobs:
    """Writes views as a manager does."""

    def __init__(self, path: Path) -> None:
        self.client = AirExecutorClient(path)
        self.path = path
        self._number = 0

    def put(self, name: str, *tasks: TaskRecord, state: str = "working", **fields: Any) -> Path:
        """Write the views of a job, or replace them, and return its directory."""
        directory = self.path / "jobs" / name
        (directory / "logs").mkdir(parents=True, exist_ok=True)
        counts = {status.value: sum(task.status is status for task in tasks) for status in TaskStatus}
        self._number += 1
        values: dict[str, Any] = {
            "id": f"id-{name}",
            "created_at": at(0),
            "updated_at": at(0) + timedelta(seconds=self._number),
        }
        job = StateRecord(
            **{**values, **fields}, name=name, state=JobState(state), tasks={"total": len(tasks), **counts}
        )
        self.replace(directory / "tasks.json", b"".join(encode_tasks(tasks)))
        self.replace(directory / "state.json", encode_state(job))
        return directory

    def replace(self, path: Path, content: bytes) -> None:
        """Put a whole file in the place of another."""
        self._number += 1
        aside = self.path / "tmp" / f"aside.{self._number}"
        create_file(aside, content, durable=False)
        os.rename(aside, path)

    def by_hand(self, name: str, state: str, tasks: str) -> Path:
        """Write what somebody types."""
        directory = self.path / "jobs" / name
        directory.mkdir()
        (directory / "state.json").write_text(state)
        (directory / "tasks.json").write_text(tasks)
        return directory


class Site:
    """Asks the routes."""

    def __init__(self, app: Any) -> None:
        self.app = app

    def ask(self, path: str, method: str = "GET", *more: tuple[str, str], **headers: str) -> httpx.Response:
        """Return the answer; the path goes as it is, and `more` headers may be there twice."""
        sent = [*((key.replace("_", "-"), value) for key, value in headers.items()), *more]

        async def run() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app=self.app)) as client:
                url = httpx.URL("http://test").copy_with(raw_path=path.encode())
                return await client.request(method, url, headers=sent)

        return asyncio.run(run())

    def json(self, path: str, status: int = 200) -> Any:
        """Return the JSON of an answer."""
        answer = self.ask(path)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/json"
        return answer.json()

    def error(self, path: str, status: int) -> str:
        """Return the one line of an error."""
        document = self.json(path, status)
        assert list(document) == ["detail"]
        assert document["detail"]
        assert "\n" not in document["detail"]
        return str(document["detail"])


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    return Jobs(tmp_path / "root")


@pytest.fixture
def make_site(jobs: Jobs) -> Callable[..., Site]:
    def make(**options: Any) -> Site:
        app = FastAPI()
        app.include_router(make_router(lambda: jobs.client, **options))
        return Site(app)

    return make


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    return make_site()
