"""Reading a job's directory: by hand, half done, checked out, or broken."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from air_executor.core.events import JobFinished, Outcome
from air_executor.core.specs import JobOptions, JobSpec
from air_executor.core.states import JobState, TaskStatus
from air_executor.errors import AirExecutorError, DamagedFileError, InvalidJobError, TaskConflictError
from air_executor.store.intake import LoadedJob, NotLoaded, load_job, read_tasks, unknown_tasks
from air_executor.store.root import Root
from air_executor.store.submission import submit_job
from air_executor.store.views import write_views
from tests.support.jobs import T0, at, ended, launched, statuses, task


def by_hand(root: Root, tasks: Any, state: Any = None, name: str = "job") -> Path:
    """Write a job as the documented client does."""
    directory = root.jobs / name
    directory.mkdir(mode=0o700, exist_ok=True)
    for file, content in (("state.json", {"state": "waiting"} if state is None else state), ("tasks.json", tasks)):
        text = content if isinstance(content, str) else json.dumps(content)
        (directory / file).write_text(text)
    return directory


def load(root: Root, name: str = "job") -> LoadedJob:
    result = load_job(root, name, T0)
    assert isinstance(result, LoadedJob)
    return result


def publish(root: Root, loaded: LoadedJob, *events: Any) -> None:
    """Let things happen to a job, and write them down as the manager does."""
    for event in events:
        loaded.job.apply(event)
        loaded.journal.add(event)
    loaded.journal.flush()
    write_views(root, loaded.job, loaded.journal)


def test_a_job_written_file_by_file_is_complete_with_the_second(root: Root) -> None:
    directory = root.jobs / "job"
    directory.mkdir(mode=0o700)
    assert load_job(root, "job", T0) is NotLoaded.INCOMPLETE
    (directory / "state.json").write_text('{"id": "x", "name": "job", "state": "waiting"}')
    assert load_job(root, "job", T0) is NotLoaded.INCOMPLETE
    (directory / "tasks.json").write_text('[{"id": "a", "command": "true", "status": "pending"}]')
    loaded = load(root)
    assert (loaded.job.id, loaded.job.name) == ("x", "job")
    assert statuses(loaded.job) == {"a": "pending"}


def test_the_other_order(root: Root) -> None:
    directory = root.jobs / "job"
    directory.mkdir(mode=0o700)
    (directory / "tasks.json").write_text('[{"command": "true"}]')
    assert load_job(root, "job", T0) is NotLoaded.INCOMPLETE


def test_only_a_command_is_needed(root: Root) -> None:
    by_hand(root, [{"command": "true"}, {"command": "echo", "args": ["x"], "dependencies": ["task-1"]}], {})
    job = load(root).job
    assert statuses(job) == {"task-1": "pending", "task-2": "pending"}
    assert (job.created_at, job.options) == (T0, JobOptions())
    assert job.id


def test_the_file_of_the_documented_client(root: Root) -> None:
    state = {
        "id": "airflow-x-1",
        "name": "job",
        "state": "waiting",
        "created_at": "2025-10-02T07:30:00.123456Z",
        "updated_at": "2025-10-02T07:30:00.123456Z",
    }
    tasks = [
        {
            "id": "airflow-task",
            "job_name": "job",
            "command": "bash",
            "args": ["-c", "true"],
            "dependencies": [],
            "status": "pending",
            "created_at": "2025-10-02T07:30:00.123456Z",
            "started_at": None,
            "completed_at": None,
            "error": None,
        }
    ]
    by_hand(root, tasks, state)
    job = load(root).job
    assert job.tasks["airflow-task"].spec.args == ("-c", "true")
    assert job.created_at.isoformat() == "2025-10-02T07:30:00.123456+00:00"


def test_instants_without_a_zone_are_utc_and_fields_of_others_are_left_alone(root: Root) -> None:
    by_hand(root, [{"command": "true", "colour": "red"}], {"created_at": "2025-10-02T07:30:00", "owner": "me"})
    assert load(root).job.created_at == T0


BOMB = "[" * 100_000
BROKEN: dict[str, tuple[Any, Any, str]] = {
    "torn state": ([{"command": "a"}], '{"state": "wai', r"state\.json: .*not valid JSON.*correct or restore"),
    "state is a list": ([{"command": "a"}], [], r"state\.json: Expected `object`.*correct"),
    "unknown state": ([{"command": "a"}], {"state": "happy"}, r"state\.json: .*happy.*`\$\.state`.*correct"),
    "state of a wrong type": ([{"command": "a"}], {"state": 1}, r"state\.json: .*`\$\.state`"),
    "bad option": ([{"command": "a"}], {"options": {"max_parallel": 0}}, r"state\.json: .*`\$\.options\.max_parallel`"),
    "bad instant": ([{"command": "a"}], {"created_at": "yesterday"}, r"state\.json: .*`\$\.created_at`"),
    "torn tasks": ('[{"command": "a"', None, r"tasks\.json: .*not valid JSON.*correct or restore"),
    "tasks are an object": ({}, None, r"tasks\.json: Expected `array`"),
    "no tasks": ([], None, r"tasks\.json: holds no task; give the job at least one"),
    "no command": ([{"id": "a"}], None, r"tasks\.json: .*missing required field `command`.*`\$\[0\]`"),
    "empty command": ([{"id": "a", "command": ""}], None, r"tasks\.json: .*'a': `command` is empty"),
    "args of a wrong type": ([{"command": "a", "args": "x"}], None, r"tasks\.json: .*`\$\[0\]\.args`"),
    "status of a wrong type": ([{"command": "a", "status": "done"}], None, r"tasks\.json: .*`\$\[0\]\.status`"),
    "id twice": ([{"id": "a", "command": "x"}] * 2, None, r"tasks\.json: .*'a' occurs twice"),
    "unknown dependency": ([{"command": "a", "dependencies": ["b"]}], None, r"tasks\.json: .*'b'.*correct"),
    "cycle": (
        [
            {"id": "a", "command": "x", "dependencies": ["b"]},
            {"id": "b", "command": "x", "dependencies": ["a"]},
        ],
        None,
        r"tasks\.json: .*cycle: 'a' -> 'b' -> 'a'",
    ),
    "control character in an id": ([{"id": "a\nb", "command": "x"}], None, r"tasks\.json: .*'a\\nb' is not allowed"),
    "nested bomb": (BOMB, None, r"tasks\.json: .*(not valid JSON|correct that field)"),
    "nested bomb in a field": ('[{"command": "a", "x": ' + BOMB, None, r"tasks\.json: .*not valid JSON"),
    "huge number": (
        '[{"command": "a", "retries": ' + "9" * 5000 + "}]",
        None,
        r"tasks\.json: .*retries|tasks\.json: .*JSON",
    ),
    "negative retries": ([{"command": "a", "retries": -1}], None, r"tasks\.json: .*`\$\[0\]\.retries`"),
    "path trick in the workload": (
        [{"command": "a", "runner": "airflow", "workload": "../../x"}],
        None,
        r"tasks\.json: .*workload",
    ),
}


@pytest.mark.parametrize(("tasks", "state", "message"), BROKEN.values(), ids=BROKEN)
def test_what_is_broken_is_refused_with_file_field_and_remedy(root: Root, tasks: Any, state: Any, message: str) -> None:
    directory = by_hand(root, tasks, state)
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    with pytest.raises(AirExecutorError, match=message):
        load_job(root, "job", T0)
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before


def test_cut_off_at_any_byte_a_state_is_refused_or_incomplete(root: Root) -> None:
    submit_job(root, JobSpec(name="job", tasks=(task("a"),)))
    for name in ("state.json", "tasks.json"):
        path = root.jobs / "job" / name
        content = path.read_bytes()
        for length in range(len(content.rstrip())):
            path.write_bytes(content[:length])
            with pytest.raises(DamagedFileError, match=f"{path}: "):
                load_job(root, "job", T0)
        path.write_bytes(content)
    assert statuses(load(root).job) == {"a": "pending"}


@pytest.mark.parametrize("name", ["state.json", "tasks.json", "journal"])
@pytest.mark.parametrize("kind", ["link", "directory", "pipe"])
def test_only_plain_files_are_read(root: Root, name: str, kind: str) -> None:
    path = by_hand(root, [{"command": "true"}]) / name
    if path.exists():
        path.rename(root.path / "kept")
    if kind == "link":
        path.symlink_to(root.path / "kept")
    elif kind == "directory":
        path.mkdir()
    else:
        os.mkfifo(path)
    with pytest.raises(DamagedFileError, match=f"{path}: .*plain file"):
        load_job(root, "job", T0)


def test_a_directory_that_is_a_link_is_not_followed(root: Root) -> None:
    by_hand(root, [{"command": "true"}]).rename(root.path / "elsewhere")
    (root.jobs / "job").symlink_to(root.path / "elsewhere")
    with pytest.raises(DamagedFileError, match="symbolic links are not followed"):
        load_job(root, "job", T0)


def test_a_directory_that_others_may_write_to_is_refused(root: Root) -> None:
    by_hand(root, [{"command": "true"}]).chmod(0o777)
    with pytest.raises(DamagedFileError, match="others may write to it; run `chmod go-w"):
        load_job(root, "job", T0)


def test_what_is_over_is_left_alone(root: Root) -> None:
    for state in ("completed", "failed", "cancelled"):
        by_hand(root, "broken", {"state": state})
        assert load_job(root, "job", T0) is NotLoaded.FINISHED


def test_a_journal_that_is_ahead_of_the_view_is_replayed(root: Root) -> None:
    submit_job(root, JobSpec(name="job", tasks=(task("a"), task("b", "a"))))
    first = load(root)
    publish(root, first)
    for event in (launched("a"), ended("a"), launched("b")):
        first.job.apply(event)
        first.journal.add(event)
    first.journal.flush()
    again = load(root)
    assert statuses(again.job) == {"a": "completed", "b": "running"}
    assert again.strangers == ()
    assert json.loads((root.jobs / "job" / "tasks.json").read_text())[0]["status"] == "pending"


def test_a_job_that_was_only_just_taken_up_is_taken_up_anew(root: Root) -> None:
    submit_job(root, JobSpec(name="job", tasks=(task("a"),)))
    load(root)
    assert not (root.jobs / "job" / "journal").exists()
    first = load(root)
    first.journal.flush()
    assert load(root).job.id == first.job.id
    content = (root.jobs / "job" / "journal").read_bytes()
    for length in range(len(content)):
        (root.jobs / "job" / "journal").write_bytes(content[:length])
        again = load(root)
        for event in unknown_tasks(again.job, again.strangers, T0):
            again.job.apply(event)
        assert statuses(again.job) == {"a": "pending"}, length


def test_appended_tasks_are_found_also_after_the_manager_was_killed(root: Root) -> None:
    submit_job(root, JobSpec(name="job", tasks=(task("a"),)))
    first = load(root)
    publish(root, first, launched("a"))
    path = root.jobs / "job" / "tasks.json"
    tasks = json.loads(path.read_text())
    tasks += [
        {"id": f"new-{n}", "command": "true", "args": [], "dependencies": [], "status": "pending"} for n in (1, 2)
    ]
    aside = path.with_name("mine")
    aside.write_text(json.dumps(tasks))
    # Meanwhile the journal goes on, and the manager dies before it shows that.
    first.job.apply(ended("a"))
    first.journal.add(ended("a"))
    first.journal.flush()
    aside.rename(path)
    again = load(root)
    assert statuses(again.job) == {"a": "completed"}
    for event in unknown_tasks(again.job, again.strangers, T0):
        again.job.apply(event)
    assert statuses(again.job) == {"a": "completed", "new-1": "pending", "new-2": "pending"}


def test_an_older_state_that_was_put_back_wins(root: Root) -> None:
    submit_job(root, JobSpec(name="job", tasks=(task("a"), task("b", "a"))))
    first = load(root)
    publish(root, first, launched("a"), ended("a"))
    path = root.jobs / "job"
    older = {name: (path / name).read_bytes() for name in ("state.json", "tasks.json")}
    publish(root, first, launched("b"), ended("b", Outcome.FAILED), JobFinished(at=at(5), state=JobState.FAILED))
    assert load_job(root, "job", T0) is NotLoaded.FINISHED
    for name, content in older.items():
        (path / name).unlink()
        (path / name).write_bytes(content)
    again = load(root)
    assert statuses(again.job) == {"a": "completed", "b": "pending"}
    assert (path / "journal.replaced").exists()
    publish(root, again, launched("b"))
    assert statuses(load(root).job) == {"a": "completed", "b": "running"}


def test_known_tasks_keep_the_engines_status_and_others_theirs(root: Root) -> None:
    submit_job(root, JobSpec(name="job", tasks=(task("a"),)))
    loaded = load(root)
    publish(root, loaded, launched("a"), ended("a"))
    by_hand(
        root,
        [
            {"id": "a", "command": "true", "status": "pending"},
            {"id": "b", "command": "true", "status": "completed"},
            {"id": "c", "command": "true", "dependencies": ["b", "a"]},
        ],
    )
    strangers = read_tasks(root.jobs / "job" / "tasks.json")
    assert strangers is not None
    for event in unknown_tasks(loaded.job, strangers, T0):
        loaded.job.apply(event)
    assert statuses(loaded.job) == {"a": "completed", "b": "completed", "c": "pending"}
    assert loaded.job.take_ready() is loaded.job.tasks["c"]


def test_a_known_id_with_another_command_is_refused(root: Root) -> None:
    submit_job(root, JobSpec(name="job", tasks=(task("a"),)))
    loaded = load(root)
    by_hand(root, [{"id": "a", "command": "other"}])
    strangers = read_tasks(root.jobs / "job" / "tasks.json")
    with pytest.raises(TaskConflictError, match="'a' with another command"):
        unknown_tasks(loaded.job, strangers or (), T0)


def test_a_journal_of_nonsense_is_refused(root: Root) -> None:
    submit_job(root, JobSpec(name="job", tasks=(task("a"),)))
    loaded = load(root)
    loaded.journal.add(ended("a"))
    loaded.journal.flush()
    with pytest.raises(AirExecutorError, match="does not run"):
        load_job(root, "job", T0)


def test_many_tasks_in_any_status(root: Root) -> None:
    every = [status.value for status in TaskStatus]
    by_hand(root, [{"id": f"{status}-{n}", "command": "x", "status": status} for status in every for n in range(200)])
    job = load(root).job
    assert {status.value: count for status, count in job.counts.items()} == dict.fromkeys(every, 200)


def test_an_open_job_may_be_empty(root: Root) -> None:
    by_hand(root, [], {"options": {"is_open": True}})
    assert not load(root).job.is_done
    by_hand(root, [])
    with pytest.raises(InvalidJobError):
        load_job(root, "job", T0)


@pytest.mark.parametrize("name", ["state.json", "tasks.json"])
def test_cut_off_at_any_byte_a_view_is_made_anew_from_the_journal(root: Root, name: str) -> None:
    submit_job(root, JobSpec(name="job", tasks=(task("a"), task("b", "a"))))
    first = load(root)
    publish(root, first, launched("a"), ended("a"), launched("b"))
    path = root.jobs / "job" / name
    content = path.read_bytes()
    for length in (*range(0, len(content.rstrip()), 37), len(content.rstrip()) - 1):
        path.write_bytes(content[:length])
        again = load(root)
        assert statuses(again.job) == {"a": "completed", "b": "running"}, length
        assert again.strangers == ()
        assert again.job.id == first.job.id


def test_without_both_views_the_journal_goes_on(root: Root) -> None:
    submit_job(root, JobSpec(name="job", tasks=(task("a"),)))
    publish(root, load(root), launched("a"))
    for name in ("state.json", "tasks.json"):
        (root.jobs / "job" / name).write_bytes(b"")
    assert statuses(load(root).job) == {"a": "running"}


def test_the_end_of_a_job_whose_state_was_cut_off_is_known(root: Root) -> None:
    submit_job(root, JobSpec(name="job", tasks=(task("a"),)))
    over = JobFinished(at=at(3), state=JobState.COMPLETED)
    publish(root, load(root), launched("a"), ended("a"), over)
    (root.jobs / "job" / "state.json").write_bytes(b"")
    assert load(root).job.state is JobState.COMPLETED


@pytest.mark.parametrize(
    ("name", "content"),
    [("state.json", '{"state": "happy"}'), ("tasks.json", '[{"command": 1}]'), ("tasks.json", "{}")],
)
def test_a_whole_file_that_is_wrong_is_refused_whatever_the_journal_says(root: Root, name: str, content: str) -> None:
    submit_job(root, JobSpec(name="job", tasks=(task("a"),)))
    publish(root, load(root), launched("a"))
    (root.jobs / "job" / name).unlink()
    (root.jobs / "job" / name).write_text(content)
    with pytest.raises(DamagedFileError, match=f"{name}: "):
        load_job(root, "job", T0)
