"""Histories in SQLite and, where its programs are, in PostgreSQL; and journals as a manager keeps them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from air_executor.core.events import Event, JobAccepted
from air_executor.core.specs import JobOptions
from air_executor.history import schema
from air_executor.history.database import Database
from air_executor.history.recorder import Recorder
from air_executor.store.backlog import Backlog
from air_executor.store.journal import Journal
from air_executor.store.root import Root
from tests.support.jobs import T0
from tests.support.postgres import PostgresServer, find_server_programs

_numbers = itertools.count()


class Journals:
    """Writes journals and keeps them for the history, as the manager does."""

    def __init__(self, root: Root) -> None:
        self.root = root
        self.backlog = Backlog(root)
        self.open: dict[str, Journal] = {}

    def write(self, name: str, *events: Event) -> None:
        """Add events to the journal of a job, and keep it if it is new."""
        directory = self.root.job(name)
        directory.mkdir(exist_ok=True)
        is_new = name not in self.open
        journal = self.open.setdefault(name, Journal(directory / "journal", durable=False))
        for event in events:
            journal.add(event)
        journal.flush()
        if is_new:
            self.keep(name)

    def keep(self, name: str) -> None:
        """Give the journal another name in the backlog."""
        assert self.backlog.keep(name, durable=False)

    def path(self, name: str) -> Path:
        """Return where the journal lies."""
        return self.root.job(name) / "journal"


def accepted(name: str, job_id: str | None = None, seconds: float = 0, **labels: str) -> JobAccepted:
    """Return the first event of a job."""
    from tests.support.jobs import at

    return JobAccepted(
        at=at(seconds), id=job_id or f"id-{name}", name=name, created_at=T0, options=JobOptions(), labels=labels
    )


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    if find_server_programs() is None:
        pytest.skip("PostgreSQL's server programs are not installed")
    with PostgresServer({"fsync": "off"}) as server:
        yield server


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root.open(tmp_path / "root")


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest) -> str | None:
    """Return the address of an empty database; None is the file in the root."""
    if request.param == "sqlite":
        return None
    return str(request.getfixturevalue("postgres").create(f"history_{next(_numbers)}"))


@pytest.fixture
def database(root: Root, url: str | None) -> Iterator[Database]:
    database = Database(root, url)
    schema.upgrade(database)
    yield database
    database.close()


@pytest.fixture
def journals(root: Root) -> Journals:
    return Journals(root)


@pytest.fixture
def recorder(root: Root, database: Database) -> Recorder:
    return Recorder(root, database)
