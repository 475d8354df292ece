"""Jobs and tasks that others write as files, against a live manager: none is lost."""

from __future__ import annotations

import json
import os
import sys
import threading
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from air_executor.core.specs import TaskSpec
from air_executor.errors import InvalidJobError
from tests.support.jobs import task
from tests.support.manager import ManagedRoot, is_alive, remove_tree, shell
from tests.support.processes import at_once
from tests.support.waiting import wait_until

DISCOVERY = """
import json, os, sys
tasks_file, count = sys.argv[1], int(sys.argv[2])
tasks = json.load(open(tasks_file))
for number in range(count):
    tasks.append({
        "id": f"process-{number:04d}.csv",
        "command": "true",
        "args": ["process_customer.py", str(number)],
        "dependencies": [],
        "status": "pending",
    })
temp_file = tasks_file + ".new"
with open(temp_file, "w") as file:
    json.dump(tasks, file)
os.rename(temp_file, tasks_file)
"""


def now() -> str:
    return datetime.now(timezone.utc).replace(tzinfo=None).isoformat() + "Z"


def create_as_documented(base: Path, job_name: str, command: str) -> None:
    """Write a job as the executor of the first documentation did."""
    job_dir = base / "jobs" / job_name
    job_dir.mkdir(parents=True, exist_ok=True)
    (job_dir / "logs").mkdir(exist_ok=True)
    state = {
        "id": f"{job_name}-1",
        "name": job_name,
        "state": "waiting",
        "created_at": now(),
        "updated_at": now(),
    }
    with open(job_dir / "state.json", "w") as f:
        json.dump(state, f, indent=2)
    tasks = [
        {
            "id": "airflow-task",
            "job_name": job_name,
            "command": "bash",
            "args": ["-c", command],
            "dependencies": [],
            "status": "pending",
            "created_at": now(),
            "started_at": None,
            "completed_at": None,
            "error": None,
        }
    ]
    with open(job_dir / "tasks.json", "w") as f:
        json.dump(tasks, f, indent=2)


def test_jobs_written_file_by_file_under_a_live_manager(managed: ManagedRoot) -> None:
    managed.start()
    names = [f"airflow-dag-task-manual__2025-10-02T07:30:{n:02d}+00:00" for n in range(40)]
    for name in names:
        create_as_documented(managed.root.path, name, f"echo ran {name} >> {managed.ledger}")
    for name in names:
        assert managed.wait_for(name)["state"] == "completed"
    assert sorted(line[1] for line in managed.lines()) == names


def test_jobs_written_before_a_manager_comes(managed: ManagedRoot) -> None:
    create_as_documented(managed.root.path, "early", "true")
    managed.start()
    state = managed.wait_for("early")
    assert (state["state"], state["id"]) == ("completed", "early-1")


def test_a_file_that_is_written_slowly_is_waited_for(managed: ManagedRoot) -> None:
    managed.start()
    directory = managed.root.jobs / "slow"
    directory.mkdir()
    content = json.dumps({"state": "waiting"})
    with (directory / "state.json").open("w") as file:
        for char in content:
            # Each part is seen, while others of the same kind come and go.
            file.write(char)
            file.flush()
            managed.submit(f"other-{file.tell()}", task("a"))
            managed.wait_for(f"other-{file.tell()}")
    (directory / "tasks.json").write_text('[{"command": "true"}]')
    assert managed.wait_for("slow")["state"] == "completed"


def discovery(managed: ManagedRoot, job: str, count: int, tmp_path: Path, **fields: Any) -> TaskSpec:
    script = tmp_path / "discovery_task.py"
    script.write_text(DISCOVERY)
    return task(
        "discover",
        command=sys.executable,
        args=(str(script), str(managed.root.job(job) / "tasks.json"), str(count)),
        **fields,
    )


def test_the_documented_discovery_task(managed: ManagedRoot, tmp_path: Path) -> None:
    managed.start()
    managed.submit("my-job", discovery(managed, "my-job", 237, tmp_path))
    assert managed.wait_for("my-job")["state"] == "completed"
    tasks = managed.tasks("my-job")
    assert len(tasks) == 238
    assert {each["status"] for each in tasks.values()} == {"completed"}


def test_the_last_task_queues_just_before_it_exits(managed: ManagedRoot, tmp_path: Path) -> None:
    managed.start()
    names = [f"last-{n}" for n in range(12)]
    for name in names:
        managed.submit(name, discovery(managed, name, 3, tmp_path))
    for name in names:
        assert managed.wait_for(name)["state"] == "completed"
        assert len(managed.tasks(name)) == 4
        assert {each["status"] for each in managed.tasks(name).values()} == {"completed"}


def test_the_same_by_the_client(managed: ManagedRoot) -> None:
    managed.start()
    queue = (
        "import os; from air_executor.client import AirExecutorClient; from air_executor.core.specs import TaskSpec\n"
        "AirExecutorClient().queue(os.environ['AIR_EXECUTOR_JOB'], "
        "[TaskSpec(id=f'new-{n}', command='true', dependencies=('ask',)) for n in range(3)])"
    )
    names = [f"ask-{n}" for n in range(4)]
    for name in names:
        managed.submit(name, task("ask", command=sys.executable, args=("-c", queue)))
    for name in names:
        assert managed.wait_for(name)["state"] == "completed"
        assert {key: each["status"] for key, each in managed.tasks(name).items()} == {
            "ask": "completed",
            **{f"new-{n}": "completed" for n in range(3)},
        }


def test_many_appends_while_views_are_written(managed: ManagedRoot) -> None:
    managed.start(view_interval=0)
    managed.submit("busy", *(shell(f"t{n}", "sleep 0.01") for n in range(60)), max_parallel=4, is_open=True)
    managed.wait_for("busy", "working")
    path = managed.root.job("busy") / "tasks.json"
    for number in range(60):
        tasks = json.loads(path.read_text())
        tasks.append({"id": f"mine-{number}", "command": "true", "args": [], "dependencies": [], "status": "pending"})
        aside = path.with_name("mine")
        aside.write_text(json.dumps(tasks))
        os.rename(aside, path)
        # One writer at a time: the next one appends to a file that holds this one's task.
        wait_until(lambda name=f"mine-{number}": name in managed.tasks("busy"), what="its task in tasks.json")
    managed.client.close("busy")
    assert managed.wait_for("busy")["state"] == "completed"
    tasks = managed.tasks("busy")
    assert len(tasks) == 120
    assert {each["status"] for each in tasks.values()} == {"completed"}


def test_fifty_writers_queue_at_once(managed: ManagedRoot) -> None:
    managed.start(slots=4)
    managed.submit("crowd", is_open=True)

    def queue(number: int) -> None:
        for n in range(4):
            managed.client.queue("crowd", [task(f"w{number}-{n}-{each}") for each in range(3)])

    at_once(50, queue)
    managed.client.close("crowd")
    assert managed.wait_for("crowd")["state"] == "completed"
    assert len(managed.tasks("crowd")) == 600


def test_queuing_the_same_again_adds_nothing_and_another_one_is_refused(managed: ManagedRoot) -> None:
    managed.start()
    managed.submit("j", managed.ledger_task("a"), is_open=True)
    for _ in range(3):
        managed.client.queue("j", [managed.ledger_task("a"), managed.ledger_task("b")])
    with pytest.raises(InvalidJobError, match="with another command"):
        managed.client.queue("j", [task("b", command="false")])
    managed.client.close("j")
    assert managed.wait_for("j")["state"] == "completed"
    assert len(managed.lines()) == 4


def test_queuing_into_a_job_that_is_over_is_refused(managed: ManagedRoot) -> None:
    managed.start()
    managed.submit("j", task("a"))
    managed.wait_for("j")
    with pytest.raises(InvalidJobError, match="is over"):
        managed.client.queue("j", [task("b")])


BROKEN = {
    "not json": ("tasks.json", '[{"command": "tru', "tasks.json: is not valid JSON"),
    "cycle": ("tasks.json", '[{"id": "a", "command": "x", "dependencies": ["a"]}]', "cycle: 'a' -> 'a'"),
    "wrong type": ("tasks.json", '[{"command": 1}]', "tasks.json: Expected `str`, got `int` - at `$[0].command`"),
    "bomb": ("tasks.json", "[" * 200_000, "tasks.json: "),
    "state": ("state.json", '{"state": "happy"}', "state.json: Invalid enum value 'happy' - at `$.state`"),
}


def test_broken_jobs_are_set_aside_and_their_neighbours_run_on(managed: ManagedRoot) -> None:
    managed.start()
    for name, (file, content, _) in BROKEN.items():
        directory = managed.root.jobs / name.replace(" ", "-")
        directory.mkdir()
        for each, text in {
            "state.json": '{"state": "waiting"}',
            "tasks.json": '[{"command": "true"}]',
            file: content,
        }.items():
            (directory / each).write_text(text)
    (managed.root.jobs / "link").symlink_to("/etc")
    (managed.root.jobs / "file").write_text("mine")
    managed.submit("good", task("a"))
    assert managed.wait_for("good")["state"] == "completed"
    for name, (file, content, message) in BROKEN.items():
        directory = managed.root.jobs / name.replace(" ", "-")
        wait_until(
            lambda path=directory: json.loads((path / "state.json").read_text()).get("state"),
            lambda state: state == "failed",
            what=f"the end of {name}",
        )
        state = managed.state(directory.name)
        assert message in state["error"]
        kept = directory / ("state.json.refused" if file == "state.json" else "tasks.json")
        assert kept.read_text() == content
        assert message in managed.log()
    managed.submit("good-2", task("a"))
    assert managed.wait_for("good-2")["state"] == "completed"
    managed.kill()
    managed.start()
    managed.submit("good-3", task("a"))
    assert managed.wait_for("good-3")["state"] == "completed"
    assert list(Path("/etc").glob("state.json*")) == []
    assert (managed.root.jobs / "file").read_text() == "mine"


def test_a_running_job_whose_tasks_json_is_broken_by_somebody_fails_and_says_why(managed: ManagedRoot) -> None:
    managed.start()
    managed.submit("broken", managed.ledger_task("a", script="sleep 1000"))
    managed.wait_for_line("start")
    path = managed.root.job("broken") / "tasks.json"
    path.with_name("mine").write_text('[{"command": ')
    path.with_name("mine").rename(path)
    state = managed.wait_for("broken")
    assert state["state"] == "failed"
    assert "not valid JSON" in state["error"]
    assert (path.parent / "tasks.json.refused").read_text() == '[{"command": '
    assert managed.task_processes() == []


def test_a_broken_addition_does_not_keep_the_next_manager_from_starting(managed: ManagedRoot) -> None:
    managed.start()
    managed.submit("poison", managed.ledger_task("a", script="sleep 1000"))
    managed.submit("other", task("a"), is_open=True)
    managed.wait_for_line("start")
    managed.kill()
    path = managed.root.job("poison") / "tasks.json"
    tasks = json.loads(path.read_text())
    path.with_name("mine").write_text(json.dumps([{**tasks[0], "command": "other"}, {"id": "new", "command": "true"}]))
    path.with_name("mine").rename(path)
    managed.start()
    state = managed.wait_for("poison")
    assert state["state"] == "failed"
    assert "with another command" in state["error"]
    managed.client.close("other")
    assert managed.wait_for("other")["state"] == "completed"


def test_a_job_whose_directory_is_removed_is_ended_and_its_name_is_free(managed: ManagedRoot) -> None:
    managed.start(slots=2)
    managed.submit("gone", *(managed.ledger_task(f"t{n}", script="sleep 1000", retries=2) for n in range(5)))
    wait_until(lambda: len(managed.lines()), lambda count: count == 2, what="two tasks that run")
    os.rename(managed.root.job("gone"), managed.root.path.parent / "removed")
    wait_until(managed.task_processes, lambda left: not left, what="no process of the removed job")
    managed.submit("gone", managed.ledger_task("new"))
    assert managed.wait_for("gone")["state"] == "completed"
    assert len(managed.lines()) == 4


def test_a_name_is_free_again_as_soon_as_its_job_was_removed(managed: ManagedRoot) -> None:
    managed.start(rescan=1000)
    for turn in range(5):
        managed.submit("again", managed.ledger_task(f"t{turn}"))
        assert managed.wait_for("again")["state"] == "completed"
        assert list(managed.tasks("again")) == [f"t{turn}"]
        managed.client.remove("again")


def test_an_older_state_put_back_from_git_runs_again(managed: ManagedRoot) -> None:
    managed.start()
    managed.submit("versioned", managed.ledger_task("a"))
    older = {name: (managed.root.job("versioned") / name).read_bytes() for name in ("state.json", "tasks.json")}
    managed.wait_for("versioned")
    managed.stop()
    for name, content in older.items():
        (managed.root.job("versioned") / name).unlink()
        (managed.root.job("versioned") / name).write_bytes(content)
    managed.start()
    managed.wait_for("versioned", "completed")
    wait_until(
        lambda: [line[0] for line in managed.lines()], lambda seen: seen == ["start", "end"] * 2, what="a second run"
    )


def test_readers_see_complete_files_all_the_time(managed: ManagedRoot) -> None:
    managed.start(view_interval=0, slots=4)
    managed.submit("watched", *(task(f"t{n}") for n in range(150)))
    errors: list[str] = []
    seen = 0
    stop = threading.Event()

    def read() -> None:
        nonlocal seen
        while not stop.is_set():
            try:
                managed.state("watched")
                assert len(managed.tasks("watched")) == 150
                seen += 1
            except Exception as error:
                errors.append(repr(error))
                return

    reader = threading.Thread(target=read)
    reader.start()
    try:
        assert managed.wait_for("watched")["state"] == "completed"
    finally:
        stop.set()
        reader.join()
    assert errors == []
    assert seen > 5


def test_an_older_state_starts_no_second_copy_of_what_runs(managed: ManagedRoot, tmp_path: Path) -> None:
    managed.start()
    gate = tmp_path / "gate"
    managed.submit(
        "held", managed.ledger_task("a", script=f"until test -e {gate}; do sleep 0.02; done"), task("b", "a")
    )
    older = {name: (managed.root.job("held") / name).read_bytes() for name in ("state.json", "tasks.json")}
    managed.wait_for_line("start")
    managed.stop()
    for name, content in older.items():
        (managed.root.job("held") / name).unlink()
        (managed.root.job("held") / name).write_bytes(content)
    managed.start()
    wait_until(managed.log, lambda log: "attempt 1: adopted, pid" in log, what="the adoption")
    gate.touch()
    assert managed.wait_for("held")["state"] == "completed"
    assert [line[0] for line in managed.lines()] == ["start", "end"]
    assert managed.tasks("held")["a"]["attempt"] == 1


@pytest.mark.parametrize("left", ["nothing", "a half"])
@pytest.mark.parametrize("files", [("state.json",), ("tasks.json",), ("state.json", "tasks.json")], ids="+".join)
def test_views_that_a_power_cut_left_in_part_are_made_anew(
    managed: ManagedRoot, tmp_path: Path, files: tuple[str, ...], left: str
) -> None:
    managed.start()
    gate = tmp_path / "gate"
    managed.submit("cut", managed.ledger_task("a", script=f"until test -e {gate}; do sleep 0.02; done"), task("b", "a"))
    managed.wait_for_task("cut", "a", lambda seen: seen["status"] == "running", "a view that says so")
    managed.wait_for_line("start")
    managed.kill()
    for name in files:
        path = managed.root.job("cut") / name
        os.truncate(path, 0 if left == "nothing" else path.stat().st_size // 2)
    managed.start()
    wait_until(managed.log, lambda log: "attempt 1: adopted, pid" in log, what="the adoption")
    gate.touch()
    managed.wait_for_line("end")
    managed.stop()
    managed.start()
    assert managed.wait_for("cut")["state"] == "completed"
    assert {name: each["status"] for name, each in managed.tasks("cut").items()} == {"a": "completed", "b": "completed"}
    assert [line[0] for line in managed.lines()] == ["start", "end"]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [("state.json", '{"state": "happy"}', "happy"), ("tasks.json", '[{"command": 1}]', "Expected `str`")],
)
def test_a_whole_view_that_is_wrong_fails_the_job_also_after_a_restart(
    managed: ManagedRoot, file: str, content: str, message: str
) -> None:
    managed.start()
    managed.submit("wrong", managed.ledger_task("a", script="sleep 1000"))
    managed.wait_for_line("start")
    managed.kill()
    path = managed.root.job("wrong") / file
    path.with_name("mine").write_text(content)
    path.with_name("mine").rename(path)
    managed.start()
    wait_until(lambda: managed.state("wrong")["state"], lambda state: state == "failed", what="the refusal")
    assert message in managed.state("wrong")["error"]
    kept = path.parent / "state.json.refused" if file == "state.json" else path
    assert kept.read_text() == content


def test_a_name_that_is_used_again_at_once_is_another_job(managed: ManagedRoot) -> None:
    managed.start()
    managed.submit("again", *(managed.ledger_task(f"old{n}", script="sleep 1000", retries=3) for n in range(3)))
    wait_until(lambda: len(managed.lines()), lambda count: count == 3, what="three tasks that run")
    first = managed.state("again")["id"]
    pids = [int(line[4]) for line in managed.lines()]
    remove_tree(managed.root.job("again"))
    managed.submit("again", managed.ledger_task("new"), managed.ledger_task("next", "new"))
    assert managed.wait_for("again")["state"] == "completed"
    assert managed.state("again")["id"] != first
    assert {name: each["status"] for name, each in managed.tasks("again").items()} == {
        "new": "completed",
        "next": "completed",
    }
    wait_until(lambda: [pid for pid in pids if is_alive(pid)], lambda left: not left, what="the end of the old tasks")
    assert [line[2] for line in managed.lines() if line[0] == "start"][3:] == ["new", "next"]
    journal = (managed.root.job("again") / "journal").read_bytes()
    assert b"\0" not in journal
    assert b'"old' not in journal


@pytest.mark.parametrize("has_manager", [True, False])
def test_a_task_that_conflicts_is_refused_at_once(managed: ManagedRoot, has_manager: bool) -> None:
    managed.submit("j", task("a"), is_open=True)
    if has_manager:
        managed.start()
        managed.wait_for("j", "working")
    with pytest.raises(InvalidJobError, match="with another command"):
        managed.client.queue("j", [task("b"), task("a", command="false")])
    assert list(managed.root.requests.iterdir()) == []
    managed.client.queue("j", [task("a"), task("c", "a")])
    managed.client.close("j")
    if not has_manager:
        managed.start()
    assert managed.wait_for("j")["state"] == "completed"
    assert sorted(managed.tasks("j")) == ["a", "c"]


@pytest.mark.parametrize("name", ["logs", "results"])
def test_nothing_is_written_through_a_link_out_of_the_root(managed: ManagedRoot, tmp_path: Path, name: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    managed.start()
    directory = managed.root.jobs / "linked"
    directory.mkdir(mode=0o700)
    (directory / name).symlink_to(elsewhere)
    write = 'echo 1 > "$AIR_EXECUTOR_RESULT_FILE"'
    (directory / "tasks.json").write_text(json.dumps([{"id": "a", "command": "sh", "args": ["-c", write]}]))
    (directory / "state.json").write_text('{"state": "waiting"}')
    state = managed.wait_for("linked")
    assert state["state"] == "failed"
    assert name in state["error"]
    assert list(elsewhere.iterdir()) == []
    managed.submit("good", task("a"))
    assert managed.wait_for("good")["state"] == "completed"
