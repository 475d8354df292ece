"""What becomes of a task, by real processes: every way to end, and the record of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from air_executor.core.specs import JobSpec, TaskSpec
from air_executor.errors import InvalidJobError
from tests.support.jobs import task
from tests.support.manager import ManagedRoot, is_alive, shell
from tests.support.waiting import wait_until


def test_a_command_that_succeeds(managed: ManagedRoot) -> None:
    managed.start()
    managed.submit("good", shell("a", "echo out; echo err >&2"))
    assert managed.wait_for("good")["state"] == "completed"
    found = managed.task("good")
    assert (found["status"], found["outcome"], found["exit_code"], found["error"]) == (
        "completed",
        "completed",
        0,
        None,
    )
    assert found["created_at"] <= found["started_at"] <= found["completed_at"]
    assert found["cpu_s"] >= 0
    assert found["peak_memory_bytes"] > 0
    assert (managed.root.log("good", "a", 1)).read_text() == "out\nerr\n"
    assert managed.root.log("good", "a", 1).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("spec", "error", "recorded"),
    [
        (shell("a", "echo first; echo why >&2; exit 7"), "exit code 7; last lines: first\nwhy", {"exit_code": 7}),
        (shell("a", "kill -TERM $$"), "killed by signal 15 (SIGTERM)", {"signal": 15}),
        (shell("a", "kill -KILL $$"), "killed by signal 9 (SIGKILL), not sent by Air-Executor", {"signal": 9}),
        (task("a", command="no-such-command"), "could not start: command not found: no-such-command", {}),
        (task("a", command="/etc/passwd"), "could not start: /etc/passwd may not be executed", {}),
        (task("a", cwd="/no/such/place"), "could not start: the working directory /no/such/place cannot be used", {}),
    ],
    ids=["exit code", "SIGTERM", "SIGKILL", "not found", "not executable", "no directory"],
)
def test_a_task_that_fails_says_why(
    managed: ManagedRoot, spec: TaskSpec, error: str, recorded: dict[str, object]
) -> None:
    managed.start()
    managed.submit("bad", spec, task("after", "a"))
    state = managed.wait_for("bad")
    assert state["state"] == "failed"
    assert error in state["error"]
    found = managed.tasks("bad")
    assert error in found["a"]["error"]
    assert {name: found["a"].get(name) for name in recorded} == recorded
    assert found["a"]["outcome"] == ("failed" if recorded else "not_started")
    assert (found["after"]["status"], found["after"]["error"]) == ("skipped", "skipped: its dependency a is failed")
    assert managed.log().count(" WARNING") >= 1


def test_dependencies_give_the_order(managed: ManagedRoot) -> None:
    managed.start(slots=8)
    chain = [managed.ledger_task("t0"), *(managed.ledger_task(f"t{n}", f"t{n - 1}") for n in range(1, 6))]
    managed.submit("chain", *reversed(chain))
    assert managed.wait_for("chain")["state"] == "completed"
    assert [line[2] for line in managed.lines()] == [f"t{n}" for n in range(6) for _ in ("start", "end")]


def test_retries_with_a_growing_pause(managed: ManagedRoot) -> None:
    managed.start()
    managed.submit(
        "stubborn",
        managed.ledger_task(
            "a", script='[ "$AIR_EXECUTOR_ATTEMPT" = 3 ]', retries=5, retry_delay_s=0.05, retry_backoff=2
        ),
    )
    assert managed.wait_for("stubborn")["state"] == "completed"
    found = managed.task("stubborn")
    assert (found["attempt"], found["status"], found["error"]) == (3, "completed", None)
    assert [line[3] for line in managed.lines() if line[0] == "start"] == ["1", "2", "3"]
    assert {path.name for path in (managed.root.job("stubborn") / "logs").glob("*.log")} == {
        f"a.{n}.log" for n in (1, 2, 3)
    }


def test_retries_run_out(managed: ManagedRoot) -> None:
    managed.start()
    managed.submit("hopeless", managed.ledger_task("a", script="false", retries=2))
    assert managed.wait_for("hopeless")["state"] == "failed"
    assert managed.task("hopeless")["attempt"] == 3
    assert len(managed.lines()) == 6


ESCAPES = {
    "plain": "sleep 1000 & echo $! > {pids}; wait",
    "its own session": "setsid sleep 1000 & sleep 1000 & echo $! > {pids}; wait",
    "forked twice": "(setsid sh -c 'echo $$ > {pids}; exec sleep 1000' &) ; sleep 1000",
    "deaf to SIGTERM": "trap '' TERM; echo $$ > {pids}; while :; do sleep 0.05; done",
    "deaf, apart and forked twice": "(setsid sh -c 'trap \"\" TERM; echo $$ > {pids}; while :; do sleep 0.05; done' &) ; "
    "trap '' TERM; while :; do sleep 0.05; done",
}


@pytest.mark.parametrize("script", ESCAPES.values(), ids=ESCAPES)
@pytest.mark.parametrize("way", ["timeout", "cancel"])
def test_a_whole_tree_is_ended(managed: ManagedRoot, tmp_path: Path, script: str, way: str) -> None:
    managed.start()
    pids = tmp_path / "pids"
    spec = shell(
        "a",
        f"echo start a >> {managed.ledger}; " + script.format(pids=pids),
        timeout_s=0.5 if way == "timeout" else None,
    )
    managed.submit("tree", spec)
    managed.wait_for_line("start")
    if way == "cancel":
        managed.client.cancel("tree", "enough")
    state = managed.wait_for("tree")
    found = managed.task("tree")
    if way == "cancel":
        assert (state["state"], state["error"], found["outcome"]) == ("cancelled", "enough", "cancelled")
    else:
        assert (state["state"], found["outcome"]) == ("failed", "timed_out")
        assert "timeout: it took longer than 0.5 s and was ended" in found["error"]
    assert managed.task_processes() == []
    if pids.exists():
        assert not is_alive(int(pids.read_text()))


def test_what_completes_in_time_is_not_ended(managed: ManagedRoot) -> None:
    managed.start()
    managed.submit("quick", shell("a", "sleep 0.05", timeout_s=60))
    assert managed.wait_for("quick")["state"] == "completed"


def test_a_timed_out_attempt_is_retried(managed: ManagedRoot) -> None:
    managed.start()
    script = '[ "$AIR_EXECUTOR_ATTEMPT" = 2 ] || sleep 1000'
    managed.submit("slow", shell("a", script, timeout_s=0.2, retries=1))
    assert managed.wait_for("slow")["state"] == "completed"
    assert managed.task("slow")["attempt"] == 2


def test_cancelling_before_anything_starts(managed: ManagedRoot) -> None:
    managed.submit("never", managed.ledger_task("a"), managed.ledger_task("b", "a"))
    managed.client.cancel("never")
    managed.start()
    assert managed.wait_for("never")["state"] == "cancelled"
    assert {each["status"] for each in managed.tasks("never").values()} == {"cancelled"}
    assert managed.lines() == []


def test_fail_fast_ends_the_others(managed: ManagedRoot) -> None:
    managed.start()
    managed.submit(
        "fast",
        managed.ledger_task("long", script="sleep 1000"),
        shell("bad", f"until grep -q start {managed.ledger}; do sleep 0.02; done; exit 1"),
        managed.ledger_task("later", "long"),
        fail_fast=True,
    )
    assert managed.wait_for("fast")["state"] == "failed"
    assert {name: each["status"] for name, each in managed.tasks("fast").items()} == {
        "long": "cancelled",
        "bad": "failed",
        "later": "cancelled",
    }
    assert managed.task_processes() == []


def test_more_memory_than_allowed(managed: ManagedRoot) -> None:
    managed.start()
    hungry = "x = bytearray(150_000_000); import time; time.sleep(1000)"
    managed.submit("hungry", task("a", command="python3", args=("-c", hungry), memory_limit_bytes=60_000_000))
    assert managed.wait_for("hungry")["state"] == "failed"
    found = managed.task("hungry")
    assert found["outcome"] == "out_of_memory"
    assert "out of memory: it used more than its limit of 60000000 bytes" in found["error"]
    assert managed.task_processes() == []


def test_environment_and_directory(managed: ManagedRoot, tmp_path: Path) -> None:
    managed.start(env={"FROM_MANAGER": "m"})
    managed.submit(
        "place",
        shell(
            "a",
            'echo "$FROM_MANAGER,$MINE,$AIR_EXECUTOR_JOB,$AIR_EXECUTOR_TASK,$AIR_EXECUTOR_ATTEMPT,$AIR_EXECUTOR_BASE_PATH"; pwd',
            cwd=str(tmp_path),
            env={"MINE": "a b"},
        ),
    )
    assert managed.wait_for("place")["state"] == "completed"
    assert managed.root.log("place", "a", 1).read_text() == f"m,a b,place,a,1,{managed.root.path}\n{tmp_path}\n"


def test_the_environment_of_the_submitter(managed: ManagedRoot, tmp_path: Path) -> None:
    managed.start()
    variables = {"PATH": os.environ["PATH"], "SECRET": "canary"}
    digest = managed.client.save_environment("/usr/bin/python3", variables, str(tmp_path))
    managed.submit("mine", shell("a", 'echo "$SECRET"; pwd'), environment=digest)
    assert managed.wait_for("mine")["state"] == "completed"
    assert managed.root.log("mine", "a", 1).read_text() == f"canary\n{tmp_path}\n"
    for path in managed.root.job("mine").glob("*"):
        assert path.is_dir() or b"canary" not in path.read_bytes(), path


def test_a_daemon_that_is_left_behind_is_ended_and_named(managed: ManagedRoot) -> None:
    managed.start()
    script = "setsid sleep 1000 & until grep -q sleep /proc/$!/comm; do sleep 0.01; done; echo $!"
    managed.submit("leaver", shell("a", script))
    assert managed.wait_for("leaver")["state"] == "completed"
    pid = managed.root.log("leaver", "a", 1).read_text().strip()
    assert managed.task("leaver")["killed"] == [f"sleep ({pid})"]
    assert f"what it left running was ended: sleep ({pid})" in managed.log()
    assert managed.task_processes() == []


def test_a_daemon_may_be_kept(managed: ManagedRoot, tmp_path: Path) -> None:
    managed.start()
    managed.submit("keeper", shell("a", f"setsid sleep 1000 & echo $! > {tmp_path}/pid", keep_processes=True))
    assert managed.wait_for("keeper")["state"] == "completed"
    assert "killed" not in managed.task("keeper")
    assert is_alive(int((tmp_path / "pid").read_text()))


def test_slots_limit_what_runs_at_once(managed: ManagedRoot) -> None:
    managed.start(slots=3)
    for job in range(4):
        managed.submit(f"j{job}", *(managed.ledger_task(f"t{n}", script="sleep 0.03") for n in range(5)))
    for job in range(4):
        assert managed.wait_for(f"j{job}")["state"] == "completed"
    running, most = 0, 0
    for line in managed.lines():
        running += 1 if line[0] == "start" else -1
        most = max(most, running)
    assert (running, most) == (0, 3)


def test_a_single_runner_job(managed: ManagedRoot) -> None:
    managed.start(slots=8)
    managed.submit("single", *(managed.ledger_task(f"t{n}") for n in range(10)), max_parallel=1)
    assert managed.wait_for("single")["state"] == "completed"
    assert [line[0] for line in managed.lines()] == ["start", "end"] * 10


def test_a_failed_job_can_be_retried(managed: ManagedRoot, tmp_path: Path) -> None:
    managed.start()
    managed.submit("again", shell("a", f"test -e {tmp_path}/there"), shell("b", "true", "a"), shell("c", "true"))
    assert managed.wait_for("again")["state"] == "failed"
    (tmp_path / "there").touch()
    managed.client.retry("again")
    assert managed.wait_for("again")["state"] == "completed"
    assert {name: (each["status"], each["attempt"]) for name, each in managed.tasks("again").items()} == {
        "a": ("completed", 2),
        "b": ("completed", 1),
        "c": ("completed", 1),
    }


def retry(managed: ManagedRoot, name: str) -> str:
    """Retry a job, and return why that was refused; empty if it was not."""
    try:
        managed.client.retry(name)
    except InvalidJobError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("way", ["cancel", "fail fast"])
def test_a_retry_while_tasks_are_still_being_ended_leaves_no_job_that_hangs(managed: ManagedRoot, way: str) -> None:
    managed.start(kill_grace=1.5)
    managed.submit(
        "stubborn",
        managed.ledger_task("a", script="trap '' TERM; while :; do sleep 0.05; done"),
        managed.ledger_task("b", "a"),
        managed.ledger_task("c", "b"),
        managed.ledger_task(
            "bad", script=f"until grep -q 'start stubborn a' {managed.ledger}; do sleep 0.02; done; false"
        ),
        fail_fast=way == "fail fast",
        tolerated_failures=0 if way == "fail fast" else 1,
    )
    managed.wait_for_line("end", "stubborn", "bad")
    if way == "cancel":
        managed.client.cancel("stubborn")
    managed.wait_for_task("stubborn", "b", lambda seen: seen["status"] == "cancelled", "a view that says so")
    refusal = retry(managed, "stubborn")
    assert not refusal or "job stubborn" in refusal
    state = managed.wait_for("stubborn")
    assert state["tasks"]["pending"] == state["tasks"]["running"] == 0
    if refusal:
        assert state["state"] == ("cancelled" if way == "cancel" else "failed")
    assert managed.tasks("stubborn")["b"]["status"] in ("cancelled", "skipped")
    assert managed.task_processes() == []
    # Now that nothing of it runs, it can be retried; and cancelled again.
    managed.client.retry("stubborn")
    managed.wait_for_line("start", "stubborn", "a", "2")
    managed.client.cancel("stubborn")
    assert managed.wait_for("stubborn")["state"] == "cancelled"
    assert managed.task_processes() == []


@pytest.mark.parametrize("end", ["cancelled while it waits", "skipped", "never started", "failed", "completed"])
def test_a_workload_is_gone_when_its_task_has_ended(managed: ManagedRoot, end: str) -> None:
    managed.start(slots=1)
    secret = {"workload.json": b'{"token": "secret"}'}
    fields = {"workload": "workload.json"}
    if end == "cancelled while it waits":
        managed.submit("slot", managed.ledger_task("a", script="sleep 1000"))
        managed.wait_for_line("start")
        spec = [task("a", **fields)]
    elif end == "skipped":
        spec = [task("first", command="false"), task("a", "first", **fields)]
    elif end == "never started":
        spec = [task("a", command="no-such-command", **fields)]
    else:
        spec = [task("a", command="false" if end == "failed" else "true", **fields)]
    managed.client.submit(JobSpec(name="holder", tasks=tuple(spec)), secret)
    if end == "cancelled while it waits":
        managed.client.cancel("holder")
    managed.wait_for("holder")
    path = managed.root.job("holder") / "workload.json"
    wait_until(lambda: not path.exists(), what="no workload")
    assert not any(b"secret" in each.read_bytes() for each in managed.root.job("holder").rglob("*.json"))
