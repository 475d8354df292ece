"""The history under a real manager: writer, manager and database killed at any moment, and neither a gap nor anything twice."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import pytest

from air_executor.config import HISTORY_VARIABLE
from air_executor.core.events import AnyEvent
from air_executor.history import tables
from air_executor.history.database import Database
from air_executor.history.location import find_history_url
from air_executor.store.backlog import kept_journals
from air_executor.store.history_status import read_history_status
from air_executor.store.journal import replay
from air_executor.store.requests import RetryTasks, await_reply, send_request
from air_executor.store.root import Root
from tests.support.failpoints import VARIABLE, Failpoint
from tests.support.history import check_run, read_table, wait_until_recorded
from tests.support.manager import REPOSITORY, ManagedRoot, is_alive, shell
from tests.support.postgres import PostgresServer, find_server_programs
from tests.support.waiting import wait_until

WRITER_STEPS = [
    ("air_executor.history.schema", "_run_migrations", 1),
    ("air_executor.history.recorder", "Recorder._add", 1),
    ("air_executor.history.recorder", "Recorder._read", 2),
    ("air_executor.history.run_record", "RunRecord.take_rows", 1),
    ("air_executor.history.journals", "JournalReader.sync", 1),
    ("air_executor.history.rows", "Rows.write", 1),
    ("air_executor.history.journals", "JournalReader.read", 3),
    ("air_executor.history.recorder", "Recorder._let_go", 1),
    ("air_executor.history.recorder", "Recorder._let_go", 2),
    ("os", "unlink", 1),
]
MANAGER_STEPS = [
    ("air_executor.store.backlog", "Backlog.keep", 1),
    ("air_executor.store.backlog", "sync_directory", 1),
    ("os", "link", 1),
    ("air_executor.manager.history_keeper", "HistoryKeeper.note_flush", 1),
    ("air_executor.manager.history_keeper", "HistoryKeeper.note_flush", 4),
    ("air_executor.manager.history_keeper", "Companion", 1),
]
WRITER = "air_executor.history.writer"


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    if find_server_programs() is None:
        pytest.skip("PostgreSQL's server programs are not installed")
    with PostgresServer({"fsync": "off"}) as server:
        yield server


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, managed: ManagedRoot) -> str:
    """Return the address of the history, as the manager's environment has it."""
    if request.param == "sqlite":
        return f"sqlite:///{managed.root.history_database}"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.create(f"history_{abs(hash(request.node.name)):x}"[:60])


@pytest.fixture
def database(managed: ManagedRoot, url: str) -> Iterator[Database]:
    database = Database(managed.root, url)
    yield database
    database.close()


def start(managed: ManagedRoot, url: str | None = None, **options: object) -> int:
    """Start a manager that records a history; `history` is a flag, so it is set in settings.json."""
    (managed.root.path / "settings.json").write_text('{"history": true}')
    return managed.start(env={} if url is None else {HISTORY_VARIABLE: url}, **options)


def events_of(root: Root, name: str) -> list[AnyEvent]:
    return replay(root.job(name) / "journal")[0]


def writers(managed: ManagedRoot) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            if WRITER in words and str(managed.root.path) in words and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def run_writer(root: Root, failpoint: Failpoint | None = None) -> int:
    """Run a writer until it has recorded what there is, and return how it exited."""
    module = [WRITER] if failpoint is None else ["tests.support.failpoints", "writer"]
    extra = {} if failpoint is None else {VARIABLE: msgspec.json.encode(failpoint).decode()}
    return subprocess.run(
        [sys.executable, "-m", *module, "--base-path", str(root.path)],
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONWARNINGS": "error", **extra},
        check=False,
        timeout=280,
    ).returncode


def test_jobs_are_recorded_while_they_run_and_when_they_are_over(
    managed: ManagedRoot, url: str, database: Database
) -> None:
    start(managed, url)
    go = managed.root.path.parent / "go"
    managed.submit("growing", shell("waits", f"until [ -e {go} ]; do sleep 0.05; done"), shell("b", "exit 3", "waits"))

    def seen() -> list[dict[str, object]]:
        try:
            return read_table(database, tables.progress)
        except Exception:
            # There are no tables yet.
            return []

    [point] = wait_until(seen, lambda rows: rows and rows[-1]["running_tasks"] == 1, what="progress of a running job")
    assert (point["job_name"], point["total_tasks"], point["completed_tasks"]) == ("growing", 2, 0)
    go.touch()
    managed.wait_for("growing", "failed")
    wait_until_recorded(managed.root)
    check_run(database, events_of(managed.root, "growing"))
    [writer] = writers(managed)
    assert writer.nice() > psutil.Process().nice()
    words = " ".join(writer.cmdline())
    assert url not in words
    # Nobody but the writer gets the address.
    managed.submit("asks", shell("a", f'test -z "${HISTORY_VARIABLE}"'))
    assert managed.wait_for("asks")["state"] == "completed"


def test_retries_compaction_and_removal_are_recorded(managed: ManagedRoot, url: str, database: Database) -> None:
    start(managed, url)
    go = managed.root.path.parent / "go"
    managed.submit("again", shell("a", f"test -e {go}"), shell("b", "true", "a"))
    managed.wait_for("again", "failed")
    wait_until_recorded(managed.root)
    go.touch()
    answer = send_request(managed.root, RetryTasks(job="again", tasks=None))
    await_reply(answer, 30)
    managed.wait_for("again", "completed")
    wait_until_recorded(managed.root)
    check_run(database, events_of(managed.root, "again"))
    managed.client.remove("again")
    # The same name is another job.
    managed.submit("again", shell("a", "true"))
    managed.wait_for("again", "completed")
    wait_until_recorded(managed.root)
    runs = read_table(database, tables.jobs)
    assert [(run["job_name"], run["state"]) for run in runs] == [("again", "completed"), ("again", "completed")]


def test_jobs_of_an_executor_are_recorded_although_they_are_removed_at_once(
    managed: ManagedRoot, url: str, database: Database
) -> None:
    start(managed, url, keep_announced=0)
    for number in range(20):
        managed.submit(f"job-{number}", shell("task", "true"), announce=True, durable=False)
    wait_until(managed.client.ended_names, lambda names: len(names) == 20, what="all ends")
    for name in managed.client.ended_names():
        managed.client.remove(name)
        managed.client.forget_ended(name)
    wait_until_recorded(managed.root)
    runs = read_table(database, tables.jobs)
    assert sorted(run["job_name"] for run in runs) == sorted(f"job-{number}" for number in range(20))
    assert {run["state"] for run in runs} == {"completed"}
    assert [row["outcome"] for row in read_table(database, tables.attempts)] == ["completed"] * 20


def test_writer_and_manager_killed_at_random(managed: ManagedRoot, url: str, database: Database) -> None:
    chance = random.Random(7)
    start(managed, url)
    names = []
    for number in range(12):
        names.append(f"job-{number}")
        tasks = [shell(f"t{each}", f"sleep 0.0{each}; exit {each % 3 == 2}", retries=1) for each in range(8)]
        managed.submit(names[-1], *tasks, durable=number % 2 == 0)
        time.sleep(chance.random() * 0.6)
        for writer in writers(managed):
            if chance.random() < 0.6:
                with contextlib.suppress(psutil.NoSuchProcess):
                    writer.kill()
        if chance.random() < 0.5:
            managed.kill()
            start(managed, url)
    for name in names:
        managed.wait_for(name)
    # Whoever was killed last: the next manager records what waits, at once.
    managed.stop()
    start(managed, url)
    wait_until_recorded(managed.root)
    for name in names:
        check_run(database, events_of(managed.root, name))


@pytest.mark.parametrize("moment", ["before", "after"])
def test_the_writer_killed_at_every_step(managed: ManagedRoot, tmp_path: Path, moment: str) -> None:
    start(managed)
    jobs = [managed.submit(f"job-{number}", *(shell(f"t{each}", "true") for each in range(3))) for number in range(3)]
    for name in jobs:
        managed.wait_for(name)
    managed.stop()
    wait_until(lambda: writers(managed), lambda found: not found, what="no writer")
    for number, (module, name, call) in enumerate(WRITER_STEPS):
        for path in managed.root.path.glob("history.db*"):
            path.unlink()
        from air_executor.store.backlog import Backlog

        backlog = Backlog(managed.root)
        for job in jobs:
            assert backlog.keep(job, durable=False)
        point = Failpoint("writer", module, name, moment, call, str(tmp_path / f"{number}.fired"))
        assert run_writer(managed.root, point) == -signal.SIGKILL, f"{point} was never reached"
        assert run_writer(managed.root) == 0, str(point)
        assert kept_journals(managed.root) == [], str(point)
        database = Database(managed.root, None)
        for job in jobs:
            check_run(database, events_of(managed.root, job))
        database.close()


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(("module", "name", "call"), MANAGER_STEPS)
def test_the_manager_killed_at_every_step(
    managed: ManagedRoot, tmp_path: Path, module: str, name: str, call: int, moment: str
) -> None:
    (managed.root.path / "settings.json").write_text('{"history": true}')
    point = Failpoint("manager", module, name, moment, call, str(tmp_path / "fired"))
    managed.submit("job", shell("a", "sleep 0.1"), shell("b", "true", "a"))
    first = managed.spawn(
        wrapper=("-m", "tests.support.failpoints"), env={VARIABLE: msgspec.json.encode(point).decode()}
    )
    wait_until(lambda: first.poll() is not None, timeout_s=120, what=f"{point}: the kill; {managed.log()[-500:]}")
    start(managed)
    managed.wait_for("job", "completed")
    wait_until_recorded(managed.root)
    database = Database(managed.root, None)
    check_run(database, events_of(managed.root, "job"))
    database.close()


def test_a_database_that_cannot_be_reached_hurts_no_job_and_is_made_up_for(managed: ManagedRoot) -> None:
    url = "postgresql://me:sesame@127.0.0.1:1/db"
    start(managed, url)
    managed.submit("job", shell("a", "true"))
    managed.wait_for("job", "completed")
    status = wait_until(lambda: read_history_status(managed.root), what="what the writer says")
    assert status is not None
    assert "Connection refused" in str(status.error)
    wait_until(managed.log, lambda log: "the history cannot be recorded" in log, what="the manager's word for it")
    doctor = subprocess.run(
        [sys.executable, "-m", "air_executor.cli.main", "doctor", "--base-path", str(managed.root.path)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "problem  history" in doctor.stdout
    assert "the journals of 1 jobs wait" in doctor.stdout
    everything = managed.log() + doctor.stdout + (managed.root.run / "history.log").read_text() + str(status)
    assert "sesame" not in everything
    assert managed.log().count("cannot be recorded") == 1
    managed.stop()
    # With an address that works the next manager records what waited, of a job that has long gone.
    managed.client.remove("job")
    start(managed)
    wait_until_recorded(managed.root)
    database = Database(managed.root, None)
    [run] = read_table(database, tables.jobs)
    assert (run["job_name"], run["state"]) == ("job", "completed")
    database.close()
    assert stat.S_IMODE(managed.root.history_database.stat().st_mode) == 0o600


def test_the_writer_leaves_with_the_manager_and_with_its_input(managed: ManagedRoot) -> None:
    start(managed)
    managed.submit("job", shell("a", "true"))
    managed.wait_for("job", "completed")
    wait_until_recorded(managed.root)
    [writer] = writers(managed)
    managed.kill()
    wait_until(lambda: is_alive(writer.pid), lambda alive: not alive, what="no writer of a killed manager")


def test_switched_off_there_is_no_writer_and_no_file(managed: ManagedRoot) -> None:
    managed.start()
    managed.submit("job", shell("a", "true"))
    managed.wait_for("job", "completed")
    managed.stop()
    assert not managed.root.history.exists()
    assert not managed.root.history_database.exists()
    assert find_history_url(managed.root) is None
