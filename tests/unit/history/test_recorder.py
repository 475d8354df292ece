"""From journals to tables: no gap and nothing twice, whenever a writer is thrown away and another one goes on."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from air_executor.core.events import (
    AnyEvent,
    JobCancelled,
    JobFinished,
    LaunchVoided,
    Outcome,
    TaskRestored,
    TasksQueued,
    TasksReset,
    ViewWritten,
)
from air_executor.core.snapshot import snapshot
from air_executor.core.states import JobState, TaskStatus
from air_executor.errors import HistoryError
from air_executor.history import recorder as recorder_module
from air_executor.history import schema, tables
from air_executor.history.database import Database
from air_executor.history.recorder import Recorder
from air_executor.history.rows import Rows
from air_executor.store.backlog import kept_journals
from air_executor.store.intake import rebuild
from air_executor.store.journal import Journal
from air_executor.store.root import Root
from tests.support.history import check_run, read_table
from tests.support.jobs import at, ended, launched, task
from tests.unit.history.conftest import Journals, accepted

LIFE: list[AnyEvent] = [
    accepted("job", dag_id="nightly", owner="me"),
    TasksQueued(at=at(0), tasks=(task("a", retries=1), task("b", "a"), task("c", "b"), task("d"), task("x\u00e4 y"))),
    ViewWritten(at=at(0), inode=1, mtime_ns=2),
    launched("a", 1, 1),
    ended("a", Outcome.FAILED, 1, at=at(2), started_at=at(1.5), exit_code=3, error="exit code 3", retry_at=at(3)),
    launched("d", 1, 2),
    LaunchVoided(at=at(2.5), task="d", attempt=1),
    launched("a", 2, 4),
    ended("a", attempt=2, at=at(5), started_at=at(4.5), exit_code=0, cpu_s=0.25, peak_memory_bytes=2**40),
    launched("b", 1, 6),
    launched("d", 2, 6),
    ended("b", Outcome.LOST, 1, at=at(300), started_at=at(6), error="lost", killed=("sh (1)", "sleep (2)")),
    ended("d", Outcome.TIMED_OUT, 2, at=at(7), started_at=at(6), signal=9, error="timed\0out" * 2000),
    launched("x\u00e4 y", 1, 301),
    JobCancelled(at=at(302), reason="enough"),
    ended("x\u00e4 y", Outcome.CANCELLED, 1, at=at(303), started_at=at(301)),
    JobFinished(at=at(304), state=JobState.CANCELLED, error="enough"),
]
ONE_TASK = (TasksQueued(at=at(0), tasks=(task("a"),)), launched("a"), ended("a", at=at(2), started_at=at(1)))
OVER = JobFinished(at=at(3), state=JobState.COMPLETED)


def record(recorder: Recorder) -> None:
    while recorder.record():
        pass


def contents(database: Database) -> dict[str, Any]:
    """Return all tables, but for what says how often something was written."""
    return {table.name: read_table(database, table) for table in tables.metadata.sorted_tables}


def check_life(database: Database) -> None:
    run = check_run(database, [each if "error" not in str(each) else _bounded(each) for each in LIFE])
    assert run["generation"] == 1


def _bounded(event: AnyEvent) -> AnyEvent:
    """Return an event with the error that the tables hold of it."""
    import msgspec

    from air_executor.history.run_record import _bounded as bounded

    return msgspec.structs.replace(event, error=bounded(event.error)) if getattr(event, "error", None) else event


def test_a_job_is_recorded_whole(journals: Journals, recorder: Recorder, database: Database) -> None:
    journals.write("job", *LIFE)
    record(recorder)
    check_life(database)
    labels = {row["name"]: row["value"] for row in read_table(database, tables.labels)}
    assert labels == {"dag_id": "nightly", "owner": "me"}
    attempts = {(row["task_id"], row["attempt"]): row for row in read_table(database, tables.attempts)}
    assert attempts["b", 1]["killed"] == '["sh (1)","sleep (2)"]'
    assert attempts["b", 1]["duration_s"] == 294
    assert attempts["a", 2]["peak_memory_bytes"] == 2**40
    assert len(attempts["d", 2]["error"]) <= 4000
    assert kept_journals(journals.root) == []


def test_every_batch_and_every_restart_gives_the_same(
    journals: Journals, root: Root, database: Database, recorder: Recorder, tmp_path: Path
) -> None:
    for number, event in enumerate(LIFE):
        journals.write("job", event)
        # Another writer each time: what it goes by is in the database.
        record(Recorder(root, database))
        if number % 3 == 0:
            record(Recorder(root, database))
    check_life(database)
    piecemeal = contents(database)

    other_root = Root.open(tmp_path / "other")
    other = Database(other_root, None)
    schema.upgrade(other)
    Journals(other_root).write("job", *LIFE)
    record(Recorder(other_root, other))
    whole = contents(other)
    for found in (piecemeal, whole):
        for row in found["air_executor_jobs"]:
            del row["root_id"], row["base_path"]
    other.close()
    assert piecemeal == whole


@pytest.mark.parametrize("step", ["write", "commit", "sync"])
def test_an_error_at_any_step_leaves_neither_gap_nor_double(
    journals: Journals, root: Root, database: Database, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    class AccidentError(Exception):
        pass

    def fail(*_: Any) -> None:
        raise AccidentError

    holder: tuple[Any, str] = {
        "write": (Rows, "write"),
        "commit": (Recorder, "_let_go"),
        "sync": (recorder_module.JournalReader, "sync"),
    }[step]
    for event in LIFE:
        journals.write("job", event)
        with monkeypatch.context() as patch:
            patch.setattr(*holder, fail)
            with pytest.raises(AccidentError):
                record(Recorder(root, database))
    record(Recorder(root, database))
    check_life(database)
    assert kept_journals(root) == []


def test_a_job_that_is_not_over_keeps_its_name_and_one_that_is_loses_it(
    journals: Journals, recorder: Recorder, root: Root
) -> None:
    journals.write("job", accepted("job"), *ONE_TASK)
    record(recorder)
    assert [kept.job_name for kept in kept_journals(root)] == ["job"]
    journals.write("job", OVER)
    record(recorder)
    assert kept_journals(root) == []


def test_a_job_that_is_removed_before_it_is_over_says_so(
    journals: Journals, recorder: Recorder, root: Root, database: Database
) -> None:
    journals.write("job", accepted("job"), *ONE_TASK)
    journals.path("job").unlink()
    record(recorder)
    [run] = read_table(database, tables.jobs)
    assert (run["state"], run["completed_tasks"], run["ended_at"]) == ("removed", 1, None)
    assert kept_journals(root) == []


def outcomes(database: Database) -> list[tuple[Any, ...]]:
    names = ("task_id", "attempt", "launched_at", "started_at", "ended_at", "outcome")
    return [tuple(row[name] for name in names) for row in read_table(database, tables.attempts)]


@pytest.mark.parametrize("is_recorded_before", [True, False])
def test_no_attempt_of_a_removed_run_counts_as_running(
    journals: Journals, root: Root, database: Database, is_recorded_before: bool
) -> None:
    journals.write("job", accepted("job"), TasksQueued(at=at(0), tasks=(task("a"), task("b"))), launched("a"))
    journals.write("job", ended("a", at=at(2), started_at=at(1)), launched("b", 1, 3))
    if is_recorded_before:
        record(Recorder(root, database))
        assert outcomes(database)[1] == ("b", 1, at(3), None, None, None)
    journals.path("job").unlink()
    record(Recorder(root, database))
    assert outcomes(database) == [
        ("a", 1, at(1), at(1), at(2), "completed"),
        ("b", 1, at(3), None, None, "removed"),
    ]


def test_what_is_removed_before_it_is_recorded_is_recorded(
    journals: Journals, recorder: Recorder, database: Database
) -> None:
    journals.write("job", *LIFE)
    journals.path("job").unlink()
    record(recorder)
    check_life(database)


def test_a_retry_after_the_end_goes_on_in_the_same_run(
    journals: Journals, root: Root, recorder: Recorder, database: Database
) -> None:
    life: list[AnyEvent] = [
        accepted("job"),
        TasksQueued(at=at(0), tasks=(task("a"),)),
        launched("a"),
        ended("a", Outcome.FAILED, at=at(2), exit_code=1),
        JobFinished(at=at(3), state=JobState.FAILED, error="task a failed"),
    ]
    again: list[AnyEvent] = [
        TasksReset(at=at(10), tasks=("a",)),
        launched("a", 2, 11),
        ended("a", attempt=2, at=at(12), exit_code=0),
        JobFinished(at=at(13), state=JobState.COMPLETED),
    ]
    journals.write("job", *life)
    record(recorder)
    journals.write("job", again[0])
    journals.keep("job")
    record(recorder)
    [run] = read_table(database, tables.jobs)
    assert (run["state"], run["ended_at"]) == ("working", None)
    journals.write("job", *again[1:])
    record(recorder)
    check_run(database, [*life, *again])
    assert kept_journals(root) == []


def test_a_retry_while_its_end_is_recorded_is_not_lost(
    journals: Journals, root: Root, recorder: Recorder, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    life = [accepted("job"), TasksQueued(at=at(0), tasks=(task("a"),)), launched("a")]
    life += [ended("a", Outcome.FAILED, at=at(2)), JobFinished(at=at(3), state=JobState.FAILED, error="it failed")]
    again = [TasksReset(at=at(10), tasks=("a",)), launched("a", 2, 11), ended("a", attempt=2, at=at(12))]
    again.append(JobFinished(at=at(13), state=JobState.COMPLETED))
    journals.write("job", *life)
    let_go: Callable[..., None] = Recorder._let_go

    def retry_first(self: Recorder, source: Any) -> None:
        monkeypatch.undo()
        journals.write("job", *again)
        journals.keep("job")
        let_go(self, source)

    monkeypatch.setattr(Recorder, "_let_go", retry_first)
    record(recorder)
    record(recorder)
    check_run(database, [*life, *again])
    assert kept_journals(root) == []


def compact(journals: Journals, name: str, events: list[AnyEvent]) -> Journal:
    """Replace a journal by the shortest one that gives the same job."""
    journals.open[name].rewrite(snapshot(rebuild(events)), journals.root.tmp / "aside")
    journals.keep(name)
    return journals.open[name]


@pytest.mark.parametrize("is_recorded_before", [True, False])
@pytest.mark.parametrize("cut", [2, 5, 7, 12, 16])
def test_a_compacted_journal_goes_on_with_the_run(
    journals: Journals, root: Root, database: Database, cut: int, is_recorded_before: bool
) -> None:
    journals.write("job", *LIFE[:cut])
    if is_recorded_before:
        record(Recorder(root, database))
    compact(journals, "job", LIFE[:cut])
    record(Recorder(root, database))
    journals.write("job", *LIFE[cut:])
    record(Recorder(root, database))
    check_life(database)
    assert kept_journals(root) == []


def test_an_attempt_runs_on_while_its_journal_is_compacted(journals: Journals, root: Root, database: Database) -> None:
    events = [accepted("job"), TasksQueued(at=at(0), tasks=(task("a"),)), launched("a", 1, 1)]
    journals.write("job", *events)
    record(Recorder(root, database))
    compact(journals, "job", events)
    record(Recorder(root, database))
    assert outcomes(database) == [("a", 1, at(1), None, None, None)]
    [run] = read_table(database, tables.jobs)
    assert run["state"] == "working"


def test_an_older_state_that_was_put_back_is_another_run(
    journals: Journals, recorder: Recorder, database: Database
) -> None:
    journals.write("job", accepted("job", "id"), TasksQueued(at=at(0), tasks=(task("a"), task("b"))), launched("a"))
    journals.write("job", ended("a", at=at(2)))
    record(recorder)
    # As intake does when it finds an older state.json and tasks.json.
    anew = [
        accepted("job", "id", 50),
        TasksQueued(at=at(50), tasks=(task("a"), task("b"))),
        TaskRestored(at=at(50), task="b", status=TaskStatus.COMPLETED, attempt=1, outcome=Outcome.COMPLETED),
    ]
    for event in anew:
        journals.open["job"].add(event)
    journals.open["job"].rewrite(None, journals.root.tmp / "aside")
    journals.keep("job")
    record(recorder)
    journals.write("job", launched("a", 1, 60), ended("a", at=at(61)), JobFinished(at=at(62), state=JobState.COMPLETED))
    record(recorder)
    runs = read_table(database, tables.jobs)
    assert [(run["generation"], run["state"], run["completed_tasks"]) for run in runs] == [
        (1, "removed", 1),
        (2, "completed", 2),
    ]
    attempts = [(row["run_id"], row["task_id"], row["ended_at"]) for row in read_table(database, tables.attempts)]
    assert attempts == [(runs[0]["run_id"], "a", at(2)), (runs[1]["run_id"], "a", at(61))]


def test_what_a_first_journal_tells_of_earlier_attempts_is_recorded(
    journals: Journals, recorder: Recorder, database: Database
) -> None:
    restored = TaskRestored(
        at=at(0),
        task="a",
        status=TaskStatus.FAILED,
        attempt=3,
        outcome=Outcome.FAILED,
        started_at=at(-9),
        completed_at=at(-5),
    )
    journals.write("job", accepted("job"), TasksQueued(at=at(0), tasks=(task("a"),)), restored)
    record(recorder)
    [attempt] = read_table(database, tables.attempts)
    assert (attempt["attempt"], attempt["outcome"], attempt["duration_s"]) == (3, "failed", 4)


def test_a_name_that_was_used_again_is_another_run(
    journals: Journals, root: Root, recorder: Recorder, database: Database
) -> None:
    for number in range(3):
        journals.open.pop("job", None)
        journals.write("job", accepted("job", f"id-{number}"), *ONE_TASK, OVER)
        journals.path("job").unlink()
    record(recorder)
    assert [run["job_id"] for run in read_table(database, tables.jobs)] == ["id-0", "id-1", "id-2"]
    assert kept_journals(root) == []


def test_a_journal_of_a_running_job_that_was_moved_away_does_not_hold_up_the_next(
    journals: Journals, root: Root, recorder: Recorder, database: Database, tmp_path: Path
) -> None:
    journals.write("job", accepted("job", "id-0"), *ONE_TASK)
    os.rename(root.job("job"), tmp_path / "kept-by-somebody")
    journals.open.clear()
    journals.write("job", accepted("job", "id-1"), *ONE_TASK, OVER)
    record(recorder)
    assert [run["state"] for run in read_table(database, tables.jobs)] == ["removed", "completed"]
    assert kept_journals(root) == []


def test_a_journal_that_was_cut_by_a_power_cut_is_another_run(
    journals: Journals, root: Root, recorder: Recorder, database: Database
) -> None:
    journals.write("job", accepted("job"), *ONE_TASK)
    record(recorder)
    content = journals.path("job").read_bytes()
    os.truncate(journals.path("job"), content.rindex(b"\n", 0, -1) + 1)
    journals.open["job"] = Journal(journals.path("job"), durable=False, size=journals.path("job").stat().st_size)
    journals.write("job", ended("a", Outcome.LOST, at=at(99)), JobFinished(at=at(100), state=JobState.FAILED))
    record(recorder)
    runs = read_table(database, tables.jobs)
    assert [(run["generation"], run["state"]) for run in runs] == [(1, "working"), (2, "failed")]


def test_an_event_that_does_not_fit_stops_neither_its_job_nor_others(
    journals: Journals, recorder: Recorder, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    journals.write("job", accepted("job"), ended("stranger", at=at(1)), *ONE_TASK, OVER)
    journals.write("other", accepted("other"), *ONE_TASK, OVER)
    record(recorder)
    assert [run["state"] for run in read_table(database, tables.jobs)] == ["completed", "completed"]
    assert "stranger" in caplog.text


@pytest.mark.parametrize("is_replaced", [False, True])
@pytest.mark.parametrize("is_over", [False, True])
def test_no_journal_is_let_go_for_a_file_that_was_removed(
    journals: Journals, root: Root, is_over: bool, is_replaced: bool
) -> None:
    database = Database(root, None)
    schema.upgrade(database)
    recorder = Recorder(root, database)
    journals.write("job", accepted("job"), ONE_TASK[0])
    record(recorder)

    for path in root.path.glob("history.db*"):
        path.unlink()
    if is_replaced:
        root.history_database.touch(0o600)
    journals.write("job", *ONE_TASK[1:], *((OVER,) if is_over else ()))
    with pytest.raises(HistoryError, match=r"history\.db: was removed or replaced"):
        record(recorder)
    database.close()
    assert [kept.job_name for kept in kept_journals(root)] == ["job"]

    # As the next writer does.
    schema.upgrade(database)
    record(Recorder(root, database))
    journals.write("job", *(() if is_over else (OVER,)))
    record(Recorder(root, database))
    check_run(database, [accepted("job"), *ONE_TASK, OVER])
    assert kept_journals(root) == []
    database.close()


def test_what_is_no_journal_is_let_alone(root: Root, recorder: Recorder, database: Database) -> None:
    (root.history / "0123456789abcdef@job").write_text("rubbish\n" * 10)
    (root.history / "notes.txt").write_text("mine")
    record(recorder)
    assert read_table(database, tables.jobs) == []
    assert (root.history / "notes.txt").exists()


def test_many_rows_are_written_in_several_transactions(
    journals: Journals, recorder: Recorder, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder_module, "_MOST_ROWS", 10)
    for number in range(30):
        journals.write(f"job-{number}", accepted(f"job-{number}"), *ONE_TASK, OVER)
    record(recorder)
    assert [run["state"] for run in read_table(database, tables.jobs)] == ["completed"] * 30


def test_more_jobs_than_files_that_may_be_open(journals: Journals, recorder: Recorder, database: Database) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for number in range(150):
        journals.write(f"job-{number}", accepted(f"job-{number}"), *ONE_TASK)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 20, hard))
    try:
        record(recorder)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(read_table(database, tables.jobs)) == 150
