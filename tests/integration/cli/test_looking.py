from __future__ import annotations

import re

import pytest

from tests.integration.cli.conftest import Shell
from tests.support.waiting import wait_until


@pytest.fixture
def mixed(shell: Shell) -> Shell:
    """Two jobs that are over: `good`, and then `bad`, of which one task fails, one is skipped and one completes."""
    shell.ok("run", "--name", "good", "--", "echo", "good")
    (shell.directory / "bad.jsonl").write_text(
        '{"id": "a", "command": "sh", "args": ["-c", "echo trouble; exit 3"]}\n'
        '{"id": "b", "command": "true", "dependencies": ["a"]}\n'
        '{"id": "c", "command": "printf", "args": ["no newline"]}\n'
    )
    assert shell("run", "--name", "bad", "bad.jsonl").returncode == 1
    return shell


def test_in_a_pipe_tables_are_plain_and_whole(mixed: Shell) -> None:
    text = mixed.ok("status")
    assert "\x1b" not in text
    assert re.search(r"^manager: running \(pid \d+\), \d of 32 slots in use   base path: ", text)
    assert re.search(r"^bad +failed +3 +1 +0 +1 +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$", text, re.MULTILINE)
    assert text.index("\nbad ") < text.index("\ngood ")
    table = mixed.ok("tasks", "bad")
    assert re.search(r"^a +failed +1 +\S+ +3 +sh -c 'echo trouble; exit 3'$", table, re.MULTILINE)
    assert re.search(r"^b +skipped +- +- +- +true$", table, re.MULTILINE)


def test_on_a_terminal_states_are_coloured_and_lines_fit(mixed: Shell) -> None:
    mixed.ok("run", "--name", "wide", "--", "echo", "x" * 300)
    terminal = mixed.in_terminal("tasks", "wide")
    assert terminal.wait() == 0
    assert "\x1b[32mcompleted\x1b[0m" in terminal.seen()
    assert all(len(line) <= 120 for line in terminal.plain().splitlines())
    assert "…" in terminal.seen()
    mixed.variables["NO_COLOR"] = "1"
    terminal = mixed.in_terminal("status")
    assert terminal.wait() == 0
    assert "\x1b[3" not in terminal.seen()


def test_one_job_is_described_with_its_failures(mixed: Shell) -> None:
    text = mixed.ok("status", "bad")
    assert "state:    failed" in text
    assert "3 total, 1 completed, 1 failed, 1 skipped" in text
    assert "a: failed: exit code 3\n    trouble" in text


def test_json_is_everywhere(mixed: Shell) -> None:
    status = mixed.json("status")
    assert [job["name"] for job in status["jobs"]] == ["bad", "good"]
    assert mixed.json("status", "bad")["state"] == "failed"
    assert [job["name"] for job in mixed.json("jobs", "failed")] == ["bad"]
    assert [task["id"] for task in mixed.json("tasks", "bad")] == ["a", "b", "c"]
    assert [entry["text"] for entry in mixed.json("logs", "bad")] == ["trouble\n", "no newline"]
    assert mixed.json("explain", "bad", "b")["reasons"][0]["cause"] == "skipped"
    assert mixed.json("wait", "good")[0]["state"] == "completed"
    assert mixed.json_of("manager", "status")["pid"] == status["manager_pid"]
    assert mixed.json("prune", "good") == {"removed": ["good"], "refused": {}, "dry_run": False}
    assert mixed.json("cancel", "bad") == {"cancelled": [], "over": ["bad"]}


def test_selectors_choose_jobs(mixed: Shell) -> None:
    assert mixed.ok("jobs", "-q") == "bad\ngood\n"
    assert mixed.ok("jobs", "-q", "last") == "bad\n"
    assert mixed.ok("jobs", "-q", "g*", "completed") == "good\n"
    assert mixed.ok("jobs", "-q", "waiting") == ""
    assert mixed.ok("tasks", "-q", "--status", "failed") == "a\n"
    assert mixed("wait", "*").returncode == 1


def test_output_is_printed_as_written_or_with_heads(mixed: Shell) -> None:
    assert mixed.ok("logs", "bad", "c") == "no newline"
    assert mixed.ok("logs", "bad") == "==> a (attempt 1) <==\ntrouble\n==> c (attempt 1) <==\nno newline\n"
    assert mixed.ok("logs", "good") == "good\n"
    mixed.ok("run", "--name", "lines", "--", "seq", "5")
    assert mixed.ok("logs", "lines", "-n", "2") == "4\n5\n"


def test_logs_follow_until_the_job_is_over(shell: Shell) -> None:
    (shell.directory / "two.jsonl").write_text(
        '["sh", "-c", "echo one; sleep 1; echo uno"]\n["sh", "-c", "printf two"]\n'
    )
    shell.ok("submit", "--name", "both", "two.jsonl")
    lines = shell.ok("logs", "-f", "both").splitlines()
    assert sorted(lines) == ["task-1 | one", "task-1 | uno", "task-2 | two"]


def test_logs_follow_a_terminal_until_ctrl_c(shell: Shell) -> None:
    shell.ok("submit", "--name", "long", "--", "sh", "-c", "echo begun; sleep 60")
    terminal = shell.in_terminal("logs", "-f", "long")
    terminal.wait_for("begun")
    terminal.press_ctrl_c()
    assert terminal.wait() == 130
    assert shell.client.job("long").state.value == "working"


def test_logs_of_an_earlier_attempt(shell: Shell) -> None:
    shell.ok(
        "run",
        "--name",
        "tries",
        "--retries",
        "1",
        "--",
        "sh",
        "-c",
        "echo $AIR_EXECUTOR_ATTEMPT; test $AIR_EXECUTOR_ATTEMPT = 2",
    )
    assert shell.ok("logs", "tries", "--attempt", "1") == "1\n"
    assert shell.ok("logs", "tries") == "2\n"
    assert shell("logs", "tries", "--attempt", "3").returncode == 4


def test_watching_shows_changes_until_ctrl_c(shell: Shell) -> None:
    shell.ok("submit", "--no-manager", "--name", "later", "--", "true")
    terminal = shell.in_terminal("jobs", "--watch")
    terminal.wait_for("later +waiting")
    shell.ok("manager", "start")
    terminal.wait_for("later +completed")
    terminal.press_ctrl_c()
    assert terminal.wait() == 0


def test_explain_tells_what_holds_a_task(shell: Shell) -> None:
    shell.use_quick_manager(slots=1)
    (shell.directory / "held.jsonl").write_text(
        '{"id": "first", "command": "sleep", "args": ["60"]}\n'
        '{"id": "ready", "command": "true"}\n'
        '{"id": "after", "command": "true", "dependencies": ["first", "ready"]}\n'
    )
    shell.ok("submit", "--no-manager", "--name", "held", "held.jsonl")
    assert "no manager runs" in shell.ok("explain", "first")
    shell.ok("manager", "start")
    wait_until(lambda: shell.client.job("held").tasks.get("running"), what="a running task")
    wait_until(lambda: shell.ok("explain", "ready"), lambda text: "all 1 slots" in text, what="full slots")
    assert "it waits for first (running), ready (pending)" in shell.ok("explain", "held", "after")
    assert "it runs: attempt 1" in shell.ok("explain", "first")
    shell.ok("cancel", "held", "--reason", "enough", "--wait")
    assert "before it started: enough" in shell.ok("explain", "after")
    assert shell("explain", "held", "nothing").returncode == 4


def test_explain_tells_of_max_parallel_and_of_a_pause(shell: Shell) -> None:
    shell.ok("submit", "--name", "narrow", "-j1", "--each-line", "-", "--", "sleep", given="60\n61\n")
    wait_until(lambda: shell.client.job("narrow").tasks.get("running"), what="a running task")
    assert "no more than 1 may (max_parallel)" in shell.ok("explain", "narrow", "task-2")
    shell.ok("submit", "--name", "paused", "--retries", "1", "--retry-delay", "1h", "--", "false")
    wait_until(lambda: shell.client.tasks("paused")[0].retry_at, what="a pause")
    assert "attempt 1 failed (exit code 1); the next starts in" in shell.ok("explain", "task-1")


def test_chart_draws_a_job_into_the_file_that_it_names(mixed: Shell) -> None:
    pytest.importorskip("matplotlib", reason="the extra `plot` is not installed")
    assert mixed.ok("chart").splitlines() == [str(mixed.directory / "bad-progress.png")]
    assert mixed.ok("chart", "good", "-o", "good.svg").splitlines() == [str(mixed.directory / "good.svg")]
    assert "Air-Executor Progress: good" in (mixed.directory / "good.svg").read_text()
    refused = mixed("chart", "good", "-o", "good.jpg")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "a chart is a .png or .svg file" in refused.stderr
    assert mixed("chart", "no-such-job").returncode == 4
    assert mixed("chart", "good", "-o", "nowhere/good.svg").returncode == 5
