from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.integration.cli.conftest import Shell
from tests.support.waiting import wait_until


def test_a_command_prints_as_it_would_alone_and_its_manager_is_announced(shell: Shell) -> None:
    result = shell("run", "--", "sh", "-c", "echo out; echo err >&2; pwd; echo $COLOUR", COLOUR="blue")
    assert result.returncode == 0
    assert result.stdout == f"out\nerr\n{shell.directory}\nblue\n"
    assert "started a manager (pid " in result.stderr
    assert "`air-executor manager stop` stops it" in result.stderr
    again = shell("run", "--", "true")
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")


def test_a_command_that_fails_gives_exit_code_1_and_its_cause(shell: Shell) -> None:
    result = shell("run", "--", "sh", "-c", "echo no >&2; exit 7")
    assert result.returncode == 1
    assert result.stdout == "no\n"
    assert "task-1 failed: exit code 7" in result.stderr
    assert "`air-executor retry sh-" in result.stderr


def test_a_command_keeps_its_own_options(shell: Shell) -> None:
    assert shell.ok("run", "echo", "--json", "-j", "{}") == "--json -j {}\n"
    assert shell.ok("run", "--", "echo", "--", "x") == "-- x\n"


def test_each_line_fills_the_placeholder_and_no_more_than_j_run_at_once(shell: Shell) -> None:
    (shell.directory / "names").write_text("a b\nc\n\nd\n")
    script = 'mkdir lock && echo "$1" && rmdir lock'
    result = shell("run", "--output", "-j", "1", "--each-line", "names", "--", "sh", "-c", script, "sh", "<{}>")
    assert result.returncode == 0, result.stderr
    assert sorted(result.stdout.splitlines()) == ["<a b>", "<c>", "<d>"]
    assert "3 of 3 tasks completed" in result.stderr


def test_lines_may_come_from_standard_input(shell: Shell) -> None:
    result = shell("run", "--output", "--each-line", "-", "--", "echo", given="1\n2\n")
    assert sorted(result.stdout.splitlines()) == ["1", "2"]


def test_a_file_of_json_lines_is_a_job_with_dependencies_and_options_may_follow(shell: Shell) -> None:
    (shell.directory / "jobs.jsonl").write_text(
        '{"id": "second", "command": "cat", "args": ["made"], "dependencies": ["first"]}\n'
        '{"id": "first", "command": "sh", "args": ["-c", "echo by first > made"]}\n'
    )
    result = shell("run", "jobs.jsonl", "--output", "--name", "from-file")
    assert result.returncode == 0, result.stderr
    assert result.stdout == "by first\n"
    assert shell.client.job("from-file").state.value == "completed"


def test_json_lines_on_standard_input_need_no_argument(shell: Shell) -> None:
    assert shell.ok("run", given='["echo", "x"]\n') == "x\n"
    assert shell.ok("run", "-", given='["echo", "y"]\n') == "y\n"


def test_of_several_tasks_the_last_lines_of_those_that_fail_are_shown(shell: Shell) -> None:
    script = 'echo "line of $1"; test "$1" != 2'
    result = shell("run", "--each-line", "-", "--", "sh", "-c", script, "sh", given="1\n2\n3\n")
    assert result.returncode == 1
    assert result.stdout == ""
    assert "task-2 failed: exit code 1" in result.stderr
    assert "    line of 2\n" in result.stderr
    assert "line of 1" not in result.stderr
    assert "2 of 3 tasks completed, 1 failed" in result.stderr


def test_attempts_are_all_printed(shell: Shell) -> None:
    script = "echo $AIR_EXECUTOR_ATTEMPT; test $AIR_EXECUTOR_ATTEMPT = 3"
    result = shell("run", "--retries", "3", "--", "sh", "-c", script)
    assert (result.returncode, result.stdout) == (0, "1\n2\n3\n")


def test_options_reach_the_tasks(shell: Shell) -> None:
    (shell.directory / "sub").mkdir()
    result = shell("run", "--env", "A=1=2", "--cwd", "sub", "--", "sh", "-c", "pwd; echo $A")
    assert result.stdout == f"{shell.directory / 'sub'}\n1=2\n"
    result = shell("run", "--timeout", "0.2s", "--", "sleep", "60")
    assert result.returncode == 1
    assert "timeout: it took longer than 0.2 s" in result.stderr
    assert shell("run", "--tolerate", "1", "--", "false").returncode == 0


def test_fail_fast_cancels_the_rest(shell: Shell) -> None:
    result = shell("run", "--fail-fast", "-j1", given='["false"]\n["sleep", "60"]\n')
    assert result.returncode == 1
    assert "1 failed, 1 cancelled" in result.stderr


def test_json_is_the_job_and_quiet_is_quiet(shell: Shell) -> None:
    result = shell("run", "--json", "--", "echo", "x")
    document = json.loads(result.stdout)
    assert (document["state"], document["tasks"]["completed"]) == ("completed", 1)
    result = shell("run", "--quiet", "--", "sh", "-c", "echo x; exit 1")
    assert (result.returncode, result.stdout, result.stderr) == (1, "", "")


def test_a_job_that_somebody_cancels_gives_exit_code_3(shell: Shell) -> None:
    terminal = shell.in_terminal("run", "--name", "long", "--", "sh", "-c", "echo begun; sleep 60")
    terminal.wait_for("begun")
    shell.ok("cancel", "long", "--reason", "bad input")
    assert terminal.wait() == 3
    assert "bad input" in terminal.plain()


def test_a_terminal_shows_counts_and_the_failure_and_at_the_end_no_bar(shell: Shell) -> None:
    script = 'sleep 0.2; echo "line of $1"; test "$1" != 2'
    (shell.directory / "numbers").write_text("1\n2\n3\n4\n")
    terminal = shell.in_terminal("run", "-j", "1", "--each-line", "numbers", "--", "sh", "-c", script, "sh")
    terminal.wait_for(r"[1-3]/4, .*running")
    assert terminal.wait() == 1
    seen = terminal.plain()
    assert "━" in seen
    assert "line of 2" in seen
    assert "3 of 4 tasks completed, 1 failed" in seen.splitlines()[-1]
    assert "\x1b[31mfailed" in terminal.seen()
    # The cursor was hidden while the bar was live.
    assert terminal.seen().rindex("\x1b[?25h") > terminal.seen().rindex("\x1b[?25l")


def test_ctrl_c_leaves_the_job_running_and_says_how_to_go_on(shell: Shell) -> None:
    (shell.directory / "numbers").write_text("1\n2\n")
    terminal = shell.in_terminal("run", "--name", "long", "--each-line", "numbers", "--", "sleep")
    terminal.wait_for("2 running|0/2")
    wait_until(lambda: shell.client.job("long").tasks.get("running"), what="running tasks")
    terminal.press_ctrl_c()
    assert terminal.wait() == 130
    seen = terminal.plain()
    assert "job long runs on" in seen
    assert "`air-executor logs -f long`" in seen
    assert "`air-executor cancel long`" in seen
    assert "Traceback" not in seen
    assert shell.ok("wait", "long") == ""
    assert shell.client.job("long").state.value == "completed"


def test_ctrl_c_also_stops_watching_a_single_command(shell: Shell) -> None:
    terminal = shell.in_terminal(
        "run", "--base-path", str(shell.root), "--name", "one", "--", "sh", "-c", "echo a; sleep 60"
    )
    terminal.wait_for("^a$|a\n")
    wait_until(lambda: shell.client.job("one").tasks.get("running"), what="a running task")
    terminal.press_ctrl_c()
    assert terminal.wait() == 130
    # Somebody who named the base path needs it again.
    assert f"`air-executor cancel --base-path {shell.root} one`" in terminal.plain()
    assert shell.client.job("one").state.value == "working"


def test_without_a_manager_nothing_runs_and_it_says_so(shell: Shell) -> None:
    terminal = shell.in_terminal("run", "--no-manager", "--name", "later", "--", "true")
    terminal.wait_for("no manager runs on .*: job later waits for one")
    assert not shell.client.manager_is_running()
    shell.ok("manager", "start")
    assert terminal.wait() == 0


def test_what_a_reader_of_a_pipe_does_not_want_is_no_error(shell: Shell) -> None:
    shell.ok("submit", "--no-manager", "--", "true")
    read, write = os.pipe()
    os.close(read)
    try:
        result = subprocess.run(
            shell.arguments("jobs"), stdout=write, stderr=subprocess.PIPE, env=shell.variables, timeout=60, check=False
        )
    finally:
        os.close(write)
    assert (result.returncode, result.stderr) == (0, b"")


def test_importing_the_command_line_imports_nothing_heavy(shell: Shell, tmp_path: Path) -> None:
    shell.ok("submit", "--no-manager", "--", "true")
    heavy = ("rich", "watchdog", "psutil", "airflow", "logging.config", "asyncio")
    probe = (
        "import sys\nfrom air_executor.cli.main import main\n"
        "try:\n    main({words!r})\nexcept SystemExit as error:\n    assert error.code == 0, error.code\n"
        "found = [name for name in {heavy!r} if name in sys.modules]\nassert not found, found\n"
    )
    for words in (["--help"], ["status"], ["jobs", "--json"], ["tasks"], ["submit", "--no-manager", "true"]):
        code = probe.format(words=words, heavy=heavy)
        subprocess.run(
            [sys.executable, "-c", code], env=shell.variables, cwd=tmp_path, stdout=subprocess.DEVNULL, check=True
        )
