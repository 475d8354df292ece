"""Managers and fork servers that go while tasks run: what runs is adopted, what ended is known, what is lost is said."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path

import psutil
import pytest

from tests.support.jobs import task
from tests.support.manager import ManagedRoot, is_alive, shell
from tests.support.waiting import wait_until


def held(managed: ManagedRoot, gate: Path, code: int = 0) -> str:
    """Return a script that uses some CPU time and runs until the gate is there."""
    return f"n=0; while [ $n -lt 20000 ]; do n=$((n+1)); done; until test -e {gate}; do sleep 0.02; done; exit {code}"


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    return tmp_path / "gate"


def ledger_held(managed: ManagedRoot, gate: Path, task_id: str = "a", code: int = 0, **fields: object):
    return managed.ledger_task(task_id, script=f"({held(managed, gate, code)})", **fields)


def kill_fork_servers(managed: ManagedRoot) -> None:
    for server in managed.fork_servers():
        server.kill()
    wait_until(managed.fork_servers, lambda left: not left, what="no fork server")


def test_a_stopped_manager_leaves_its_runners_and_the_next_one_adopts_them(managed: ManagedRoot, gate: Path) -> None:
    managed.start()
    managed.submit("long", ledger_held(managed, gate), managed.ledger_task("next", "a"))
    pid = int(managed.wait_for_line("start")[4])
    managed.stop()
    assert is_alive(pid)
    assert managed.state("long")["state"] == "working"
    managed.start()
    wait_until(managed.log, lambda log: "attempt 1: adopted, pid" in log, what="the adoption")
    assert is_alive(pid)
    gate.touch()
    assert managed.wait_for("long")["state"] == "completed"
    assert [line[0] for line in managed.lines()] == ["start", "end"] * 2
    found = managed.tasks("long")["a"]
    assert (found["attempt"], found["exit_code"]) == (1, 0)
    assert found["cpu_s"] > 0


@pytest.mark.parametrize("code", [0, 5])
def test_what_ends_while_no_manager_runs_is_known(managed: ManagedRoot, gate: Path, code: int) -> None:
    managed.start()
    managed.submit("alone", ledger_held(managed, gate, code=code))
    managed.wait_for_line("start")
    managed.kill()
    gate.touch()
    managed.wait_for_line("end")
    wait_until(managed.fork_servers, lambda left: not left, what="a fork server that leaves after its last runner")
    managed.start()
    assert managed.wait_for("alone")["state"] == ("failed" if code else "completed")
    found = managed.task("alone")
    assert (found["attempt"], found["exit_code"]) == (1, code)
    assert found["cpu_s"] > 0
    assert len(managed.lines()) == 2


@pytest.mark.parametrize("code", [0, 5])
def test_a_killed_fork_server_takes_no_knowledge_with_it(managed: ManagedRoot, gate: Path, code: int) -> None:
    managed.start()
    managed.submit("orphan", *(ledger_held(managed, gate, f"t{n}", code) for n in range(3)))
    wait_until(lambda: len(managed.lines()), lambda count: count == 3, what="three tasks that run")
    kill_fork_servers(managed)
    managed.submit("next", managed.ledger_task("n"))
    assert managed.wait_for("next")["state"] == "completed"
    gate.touch()
    assert managed.wait_for("orphan")["state"] == ("failed" if code else "completed")
    for found in managed.tasks("orphan").values():
        assert (found["attempt"], found["exit_code"]) == (1, code)
        assert found["cpu_s"] > 0
        assert found["peak_memory_bytes"] > 0
    assert len(managed.lines()) == 8
    zombies = [each for each in psutil.Process(managed.process.pid).children() if each.status() == psutil.STATUS_ZOMBIE]
    assert zombies == []


def test_both_killed_a_living_runner_is_adopted_and_its_end_is_lost(managed: ManagedRoot, gate: Path) -> None:
    managed.start()
    managed.submit("both", ledger_held(managed, gate), task("after", "a"))
    pid = int(managed.wait_for_line("start")[4])
    managed.kill()
    kill_fork_servers(managed)
    assert is_alive(pid)
    managed.start()
    wait_until(managed.log, lambda log: f"adopted, pid {pid}" in log, what="the adoption")
    gate.touch()
    state = managed.wait_for("both")
    assert state["state"] == "failed"
    found = managed.tasks("both")["a"]
    assert (found["outcome"], found["attempt"]) == ("lost", 1)
    assert "nobody saw how it ended" in found["error"]
    assert len(managed.lines()) == 2


def test_both_killed_and_the_runner_too_the_retry_policy_decides(managed: ManagedRoot, gate: Path) -> None:
    managed.start()
    managed.submit("both", ledger_held(managed, gate, retries=1), ledger_held(managed, gate, "b"))
    wait_until(lambda: len(managed.lines()), lambda count: count == 2, what="two tasks that run")
    managed.kill()
    kill_fork_servers(managed)
    for each in managed.task_processes():
        # With one of them its children may go.
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    gate.touch()
    managed.start()
    assert managed.wait_for("both")["state"] == "failed"
    found = managed.tasks("both")
    assert (found["a"]["status"], found["a"]["attempt"]) == ("completed", 2)
    assert (found["b"]["status"], found["b"]["outcome"]) == ("failed", "lost")


def test_nothing_that_is_recorded_runs_again_after_many_restarts(managed: ManagedRoot, gate: Path) -> None:
    managed.start(slots=2)
    managed.submit(
        "steps", *(managed.ledger_task(f"t{n}", *([f"t{n - 1}"] if n else [])) for n in range(8)), is_open=True
    )
    for turn in range(5):
        wait_until(lambda: len(managed.lines()), lambda count, least=turn * 2: count >= least, what="progress")
        managed.kill()
        managed.start(slots=2)
    managed.client.close("steps")
    assert managed.wait_for("steps")["state"] == "completed"
    starts = [line[2] for line in managed.lines() if line[0] == "start"]
    assert sorted(starts) == [f"t{n}" for n in range(8)]


def test_a_timeout_holds_over_a_restart(managed: ManagedRoot) -> None:
    managed.start()
    managed.submit("slow", managed.ledger_task("a", script="sleep 1000", timeout_s=1.5))
    managed.wait_for_line("start")
    managed.kill()
    managed.start()
    assert managed.wait_for("slow")["state"] == "failed"
    assert managed.task("slow")["outcome"] == "timed_out"
    assert managed.task_processes() == []


def test_a_pause_before_a_retry_holds_over_a_restart(managed: ManagedRoot) -> None:
    managed.start()
    managed.submit(
        "later", managed.ledger_task("a", script='[ "$AIR_EXECUTOR_ATTEMPT" = 2 ]', retries=1, retry_delay_s=2)
    )
    managed.wait_for_task("later", "a", lambda seen: seen.get("retry_at"), "a task that waits for its retry")
    managed.kill()
    managed.start()
    assert managed.wait_for("later")["state"] == "completed"
    assert managed.task("later")["attempt"] == 2


def test_cancelling_what_was_adopted_ends_its_tree(managed: ManagedRoot) -> None:
    managed.start()
    managed.submit(
        "tree", managed.ledger_task("a", script="setsid sleep 1000 & trap '' TERM; while :; do sleep 0.05; done")
    )
    managed.wait_for_line("start")
    managed.kill()
    kill_fork_servers(managed)
    managed.start()
    managed.client.cancel("tree", "enough")
    assert managed.wait_for("tree")["state"] == "cancelled"
    assert managed.task_processes() == []


def test_a_memory_limit_holds_for_what_was_adopted(managed: ManagedRoot, gate: Path) -> None:
    managed.start()
    grow = f"import os, time\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.02)\nx = bytearray(150_000_000)\ntime.sleep(1000)"
    managed.submit(
        "hungry",
        task("a", command="python3", args=("-c", grow), memory_limit_bytes=80_000_000),
        managed.ledger_task("b"),
    )
    managed.wait_for_line("end")
    managed.wait_for_task("hungry", "a", lambda seen: seen.get("status") == "running", "a running task")
    wait_until(managed.task_processes, what="its process")
    managed.kill()
    kill_fork_servers(managed)
    managed.start()
    gate.touch()
    managed.wait_for("hungry")
    assert managed.tasks("hungry")["a"]["outcome"] == "out_of_memory"


def test_draining_finishes_what_runs_and_starts_nothing(managed: ManagedRoot, gate: Path) -> None:
    managed.start(slots=1)
    managed.submit("first", ledger_held(managed, gate), managed.ledger_task("b", "a"))
    managed.wait_for_line("start")
    process = managed.process
    process.send_signal(signal.SIGUSR1)
    wait_until(managed.log, lambda log: "draining" in log, what="the draining")
    managed.submit("second", managed.ledger_task("c"))
    gate.touch()
    process.wait(60)
    assert process.returncode == 0
    managed.process = None
    assert [line[:3] for line in managed.lines()] == [["start", "first", "a"], ["end", "first", "a"]]
    assert managed.tasks("first")["a"]["status"] == "completed"
    wait_until(managed.fork_servers, lambda left: not left, what="no fork server")
    managed.start()
    assert managed.wait_for("first")["state"] == managed.wait_for("second")["state"] == "completed"


def test_an_idle_root_keeps_no_fork_server(managed: ManagedRoot) -> None:
    managed.start(fork_server_idle=0)
    managed.submit("a", task("a"))
    managed.wait_for("a")
    wait_until(managed.fork_servers, lambda left: not left, timeout_s=60, what="no fork server")
    managed.submit("b", task("a"))
    assert managed.wait_for("b")["state"] == "completed"


def test_a_finished_job_whose_end_was_not_shown_is_shown(managed: ManagedRoot) -> None:
    managed.submit("shown", task("a"), announce=True)
    managed.start()
    managed.wait_for("shown")
    wait_until(managed.client.ended_names, lambda names: names == ["shown"], what="the announcement")
    managed.stop()
    # As if killed between the record of the end and its publication.
    state = managed.root.job("shown") / "state.json"
    state.write_text(state.read_text().replace('"completed"', '"working"', 1))
    managed.client.forget_ended("shown")
    managed.start()
    assert managed.wait_for("shown", "completed")
    wait_until(managed.client.ended_names, lambda names: names == ["shown"], what="the announcement")


def test_tasks_left_by_a_killed_fork_server_can_be_kept(managed: ManagedRoot, tmp_path: Path, gate: Path) -> None:
    managed.start()
    script = f"setsid sleep 1000 & echo $! > {tmp_path}/pid; echo start >> {managed.ledger}; until test -e {gate}; do sleep 0.02; done"
    managed.submit("keeper", shell("a", script, keep_processes=True))
    managed.wait_for_line("start")
    kill_fork_servers(managed)
    gate.touch()
    assert managed.wait_for("keeper")["state"] == "completed"
    assert is_alive(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize("end", ["cancelled", "completed"])
@pytest.mark.parametrize("server", ["lives", "is killed"])
def test_without_its_journal_a_job_adopts_what_runs_of_it(
    managed: ManagedRoot, gate: Path, server: str, end: str
) -> None:
    managed.submit("forgotten", ledger_held(managed, gate))
    directory = managed.root.job("forgotten")
    pending = {name: (directory / name).read_bytes() for name in ("state.json", "tasks.json")}
    managed.start()
    pid = int(managed.wait_for_line("start")[4])
    managed.stop()
    if server == "is killed":
        kill_fork_servers(managed)
    (directory / "journal").unlink()
    for name, content in pending.items():
        (directory / name).unlink()
        (directory / name).write_bytes(content)
    managed.start()
    managed.wait_for_task("forgotten", "a", lambda seen: seen["status"] == "running", "a view that says so")
    # What is launched after it has run: so the word on its own launch has come.
    managed.submit("after", task("x"))
    assert managed.wait_for("after")["state"] == "completed"
    assert is_alive(pid)
    assert managed.task("forgotten")["attempt"] == 1
    if end == "cancelled":
        managed.client.cancel("forgotten", "enough")
    else:
        gate.touch()
    state = managed.wait_for("forgotten")["state"]
    # Its exit is seen by its own fork server alone.
    assert state == ("failed" if (server, end) == ("is killed", "completed") else end)
    assert not is_alive(pid)
    assert managed.task_processes() == []
    assert [line[0] for line in managed.lines()].count("start") == 1
