from __future__ import annotations

import json
import os
import sys

from tests.integration.cli.conftest import Shell
from tests.support.waiting import wait_until


def test_a_task_queues_more_tasks_into_its_own_job(shell: Shell) -> None:
    script = f"""
        for n in 1 2; do {shell.script()} queue -- sh -c 'echo child $0' $n; done
        printf '%s\\n' '{{"id": "last", "command": "true", "dependencies": ["task-1"]}}' '["echo", "words"]' | {shell.script()} queue
    """
    result = shell("run", "--name", "grows", "--no-output", "--", "sh", "-ec", script)
    assert result.returncode == 0, result.stderr
    tasks = {task.id: task for task in shell.client.tasks("grows")}
    assert len(tasks) == 5
    assert tasks["last"].dependencies == ("task-1",)
    assert "child 1\n" in shell.ok("logs", "grows")


def test_queuing_the_same_again_adds_nothing_so_a_task_may_be_retried(shell: Shell) -> None:
    script = f"{shell.script()} queue -- echo child; test $AIR_EXECUTOR_ATTEMPT = 2"
    assert shell("run", "--name", "again", "--retries", "1", "--no-output", "--", "sh", "-c", script).returncode == 0
    assert len(shell.client.tasks("again")) == 2


def test_the_same_id_with_another_command_is_an_error(shell: Shell) -> None:
    shell.ok("submit", "--open", "--name", "open")
    assert shell.ok("queue", "--job", "open", "--id", "x", "--", "echo", "1") == "x\n"
    result = shell("queue", "--job", "open", "--id", "x", "--", "echo", "2")
    assert result.returncode == 2
    assert "has a task 'x' with another command" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_an_open_job_takes_tasks_until_it_is_closed(shell: Shell) -> None:
    result = shell("submit", "--open", "--name", "open")
    assert (result.returncode, result.stdout) == (0, "open\n")
    assert "`air-executor close open`" in result.stderr
    (first,) = shell.json("queue", "--job", "open", "--", "echo", "a")["tasks"]
    assert shell.json("queue", "--job", "open", "--after", first, "--priority", "2", "--", "echo", "b")["job"] == "open"
    assert "open*" in shell.ok("status")
    result = shell("wait", "open", "--timeout", "0.5")
    assert result.returncode == 124
    assert "after 0.5 s; it goes on" in result.stderr
    shell.ok("close", "open")
    assert shell("wait", "open").returncode == 0
    second = shell.client.tasks("open")[1]
    assert (second.dependencies, second.priority) == ((first,), 2)


def test_a_task_that_is_queued_runs_where_it_was_queued(shell: Shell) -> None:
    shell.ok("submit", "--open", "--name", "open", "--cwd", "/")
    shell.ok("queue", "--job", "open", "--id", "where", "--", "pwd")
    shell.ok("close", "open")
    shell.ok("wait", "open")
    assert shell.ok("logs", "open", "where") == f"{shell.directory}\n"


def test_outside_a_task_the_job_must_be_named(shell: Shell) -> None:
    result = shell("queue", "--", "true")
    assert result.returncode == 2
    assert "which job? Name it with --job" in result.stderr


def test_a_task_may_wait_for_one_that_is_queued_later(shell: Shell) -> None:
    shell.ok("submit", "--open", "--name", "open")
    shell.ok("queue", "--job", "open", "--id", "second", "--after", "first", "--", "true")
    wait_until(lambda: len(shell.client.tasks("open")), what="the task")
    assert "it waits for first (not queued yet)" in shell.ok("explain", "open", "second")
    shell.ok("queue", "--job", "open", "--id", "first", "--", "true")
    shell.ok("close", "open")
    shell.ok("wait", "open")


def test_cycles_and_jobs_that_are_over_are_refused(shell: Shell) -> None:
    shell.ok("submit", "--open", "--name", "open")
    shell.ok("queue", "--job", "open", "--id", "a", "--after", "b", "--", "true")
    result = shell("queue", "--job", "open", "--id", "b", "--after", "a", "--", "true")
    assert result.returncode == 2
    assert "form a cycle: 'b' -> 'a' -> 'b'" in result.stderr
    shell.ok("run", "--name", "over", "--", "true")
    result = shell("queue", "--job", "over", "--", "true")
    assert result.returncode != 0
    assert "over" in result.stderr


def test_results_are_printed_as_json(shell: Shell) -> None:
    script = "echo '{\"rows\": 3}' > $AIR_EXECUTOR_RESULT_FILE"
    shell.ok("run", "--name", "makes", "--", "sh", "-c", script)
    assert json.loads(shell.ok("results", "makes", "task-1")) == {"rows": 3}
    assert json.loads(shell.ok("results")) == {"task": "task-1", "result": {"rows": 3}}
    assert shell.json("results") == {"task-1": {"rows": 3}}
    shell.ok("run", "--name", "none", "--", "true")
    assert shell("results", "none", "task-1").returncode == 4


def test_a_result_that_is_no_json_does_not_hide_the_others(shell: Shell) -> None:
    script = 'echo "$1" > $AIR_EXECUTOR_RESULT_FILE'
    shell.ok("run", "--each-line", "-", "--", "sh", "-c", script, "sh", given="{\n2\n")
    result = shell("results")
    assert (result.returncode, result.stdout) == (5, '{"task":"task-2","result":2}\n')
    assert "is not valid JSON" in result.stderr


def test_the_command_is_found_inside_a_task_without_its_environment_being_activated(shell: Shell) -> None:
    script = 'air-executor queue -- sh -c "command -v air-executor" && echo "$PATH"'
    result = shell("run", "--name", "found", "--no-output", "--", "sh", "-c", script, PATH="/usr/bin:/bin")
    assert result.returncode == 0, result.stderr
    directory = os.path.dirname(sys.executable)
    assert shell.ok("logs", "found", "task-1").splitlines()[-1] == f"/usr/bin:/bin:{directory}"
    (_, child) = shell.client.tasks("found")
    assert shell.ok("logs", "found", child.id) == f"{directory}/air-executor\n"
