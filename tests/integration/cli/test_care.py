from __future__ import annotations

import json
import os
import re
import shutil
import subprocess

import pytest

from tests.integration.cli.conftest import Shell
from tests.support.waiting import wait_until


def test_retry_runs_again_what_failed_and_what_was_skipped(shell: Shell) -> None:
    (shell.directory / "fragile.jsonl").write_text(
        '{"id": "a", "command": "test", "args": ["-e", "there"]}\n'
        '{"id": "b", "command": "true", "dependencies": ["a"]}\n'
        '{"id": "c", "command": "true"}\n'
    )
    assert shell("run", "--name", "fragile", "fragile.jsonl").returncode == 1
    (shell.directory / "there").touch()
    assert "fragile: 1 task again" in shell.ok("retry", "--failed")
    shell.ok("wait", "fragile")
    assert [task.attempt for task in shell.client.tasks("fragile")] == [2, 1, 1]
    result = shell("retry", "fragile")
    assert result.returncode == 0
    assert "nothing to do" in result.stderr


def test_retry_takes_tasks_by_name_and_jobs_by_selector(shell: Shell) -> None:
    assert shell("run", "--name", "one", given='["false"]\n["false"]\n').returncode == 1
    assert shell("run", "--name", "two", "--", "false").returncode == 1
    assert shell.json("retry", "one", "task-2") == {"retried": {"one": ["task-2"]}}
    wait_until(lambda: shell.client.job("one").state.is_terminal, what="the end")
    assert [task.attempt for task in shell.client.tasks("one")] == [1, 2]
    assert set(shell.json("retry", "failed")["retried"]) == {"one", "two"}
    assert shell("wait", "one", "two").returncode == 1
    assert shell("retry", "one", "nothing").returncode == 2


def test_cancel_needs_a_job_and_keeps_the_reason(shell: Shell) -> None:
    assert shell("cancel").returncode == 2
    shell.ok("submit", "--name", "long", "--", "sleep", "60")
    assert shell.ok("cancel", "last", "--reason", "bad input", "--wait") == "long: cancelled\n"
    assert shell.client.job("long").error == "bad input"
    assert shell.ok("cancel", "long") == "long: is cancelled already\n"
    assert shell("wait", "long").returncode == 3


def test_prune_removes_what_is_over_and_nothing_else(shell: Shell) -> None:
    shell.ok("run", "--name", "over", "--", "true")
    shell.ok("submit", "--name", "long", "--", "sleep", "60")
    assert shell("prune").returncode == 2
    assert shell.ok("prune", "--older-than", "1h") == ""
    assert shell.ok("prune", "--dry-run", "all") == "over\n"
    result = shell("prune", "long")
    assert result.returncode == 5
    assert "cancel it first" in result.stderr
    assert shell.ok("prune", "--older-than", "0") == "over\n"
    assert shell.ok("jobs", "-q") == "long\n"


def test_prune_reaches_archived_jobs(shell: Shell) -> None:
    shell.use_quick_manager(keep_finished_jobs=0)
    shell.ok("run", "--name", "old", "--", "true")
    shell.ok("manager", "stop")
    shell.ok("manager", "start")
    wait_until(lambda: shell.ok("jobs", "-q"), lambda text: text != "old\n", what="the archive")
    assert shell.ok("jobs", "-q", "--archived") == "old\n"
    assert shell.ok("logs", "old") == ""
    assert shell.ok("prune", "all") == "old\n"
    assert shell("logs", "old").returncode == 4


def test_doctor_finds_nothing_here_and_leaves_nothing_behind(shell: Shell) -> None:
    shell.ok("run", "--", "true")
    before = sorted(os.listdir(shell.root))
    findings = {each["subject"]: each for each in shell.json("doctor")["findings"]}
    assert {"python", "packages", "base path", "disk", "file system", "limits", "manager", "jobs"} <= findings.keys()
    assert not [each for each in findings.values() if each["verdict"] == "problem"]
    assert all(each["remedy"] for each in findings.values() if each["verdict"] != "ok")
    assert sorted(os.listdir(shell.root)) == before


def test_doctor_names_the_remedy(shell: Shell) -> None:
    (shell.root / "jobs" / "broken").mkdir()
    (shell.root / "jobs" / "broken" / "state.json").write_text("{")
    result = shell("doctor")
    assert result.returncode == 1
    assert "jobs/broken/state.json: is not valid JSON" in result.stdout
    assert "start one with `air-executor manager start`" in result.stdout
    os.chmod(shell.root, 0o777)
    result = shell("doctor")
    os.chmod(shell.root, 0o700)
    assert result.returncode == 1
    assert "run `chmod go-w" in result.stdout


def test_doctor_looks_before_there_is_a_base_path(shell: Shell) -> None:
    result = shell("doctor", "--base-path", "nowhere/yet")
    assert "does not exist yet" in result.stdout
    assert not (shell.directory / "nowhere").exists()


def test_the_manager_starts_stops_and_tells(shell: Shell) -> None:
    assert shell("manager", "status").returncode == 1
    started = shell.json_of("manager", "start")
    assert shell.json_of("manager", "start") == {**started, "was_running": True}
    assert shell.json_of("manager", "reload") == {"pid": started["pid"]}
    assert f"manager (pid {started['pid']}) runs on" in shell.ok("manager", "status")
    assert shell.json_of("manager", "stop") == {"pid": started["pid"], "has_stopped": True}
    assert shell("manager", "stop").returncode == 1


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("statsu",), 2, "there is no command 'statsu': did you mean status?"),
        (("tasks", "nothing"), 4, "there is no job nothing under .*: `air-executor jobs` lists them"),
        (("logs", "alread"), 4, "did you mean already"),
        (("submit", "--name", "already", "--", "true"), 5, "a job named already exists: choose another name"),
        (("submit", "--name", "a/b", "--", "true"), 2, "job name 'a/b' is not allowed: use letters, digits"),
        (("run", "--timeout", "5x", "--", "true"), 2, "'5x' is not a duration: write seconds, or as in 90s"),
        (("run", "--env", "A", "--", "true"), 2, "'A' is not NAME=VALUE"),
        (("run", "--cwd", "nowhere", "--", "true"), 2, "there is no directory nowhere"),
        (("run", "tasks.json", "more"), 2, "tasks.json is a file of tasks and takes no arguments"),
        (("run", "missing.jsonl"), 2, "missing.jsonl: cannot be read"),
        (("run", "--each-line", "x"), 2, "--each-line needs a command"),
        (("run",), 2, "holds no task"),
        (("status", "--base-path", "nowhere"), 5, "nowhere: does not exist"),
        (("status", "--nonsense"), 2, "No such option"),
        (("explain", "nothing"), 4, "has no task 'nothing'"),
    ],
)
def test_errors_are_one_line_and_exit_codes_tell(shell: Shell, words: tuple[str, ...], code: int, message: str) -> None:
    shell.ok("submit", "--no-manager", "--name", "already", "--", "true")
    result = shell(*words)
    assert result.returncode == code, result.stderr
    [line] = result.stderr.splitlines()
    assert line.startswith("air-executor: ")
    assert re.search(message, line), line


def test_without_a_command_there_is_help(shell: Shell) -> None:
    assert "Usage: air-executor" in shell("--help").stdout
    assert "Usage: air-executor run [OPTIONS] FILE.jsonl | - | -- COMMAND [ARG]..." in shell.ok("run", "--help")
    assert shell.ok("--version").startswith("air-executor ")


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_completion_scripts_are_printed(shell: Shell, name: str) -> None:
    assert "_AIR_EXECUTOR_COMPLETE" in shell.ok("completion", name)


def complete(shell: Shell, line: str) -> list[str]:
    words = line.split(" ")
    result = shell(_AIR_EXECUTOR_COMPLETE="bash_complete", COMP_WORDS=line, COMP_CWORD=str(len(words) - 1))
    return [item.partition(",")[2] for item in result.stdout.split()]


def test_a_shell_completes_commands_options_jobs_and_tasks(shell: Shell) -> None:
    shell.ok("submit", "--no-manager", "--name", "nightly", "--", "true")
    assert complete(shell, "air-executor re") == ["retry", "results"]
    assert "--older-than" in complete(shell, "air-executor prune --")
    assert complete(shell, "air-executor wait nig") == ["nightly"]
    assert complete(shell, "air-executor tasks la") == ["last"]
    assert complete(shell, "air-executor logs nightly t") == ["task-1"]
    assert complete(shell, "air-executor queue --job n") == ["nightly"]
    shutil.rmtree(shell.root)
    assert complete(shell, "air-executor wait nig") == []
    assert not shell.root.exists()


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_takes_the_script(shell: Shell) -> None:
    script = shell.ok("completion", "bash") + "\ncomplete -p air-executor\n"
    result = subprocess.run(["bash", "-e", "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    assert "complete" in result.stdout


def test_status_tells_of_jobs_that_cannot_be_read_and_shows_the_others(shell: Shell) -> None:
    shell.ok("submit", "--no-manager", "--name", "fine", "--", "true")
    (shell.root / "jobs" / "broken").mkdir()
    (shell.root / "jobs" / "broken" / "state.json").write_text("[]")
    result = shell("status")
    assert result.returncode == 0
    assert "fine" in result.stdout
    assert "jobs/broken/state.json" in result.stderr
    assert list(json.loads(shell("status", "--json").stdout)["damaged"]) == ["broken"]
