"""`air-executor history` as people use it, from switching it on to forgetting what is old."""

from __future__ import annotations

import json

from air_executor.store.backlog import kept_journals
from air_executor.store.root import Root
from tests.integration.cli.conftest import Shell
from tests.support.waiting import wait_until


def wait_until_recorded(shell: Shell) -> None:
    root = Root(shell.root)
    wait_until(lambda: kept_journals(root), lambda kept: not kept, timeout_s=60, what="everything recorded")


def test_the_history_tells_of_jobs_that_are_gone(shell: Shell) -> None:
    shell.use_quick_manager(history=True)
    shell.ok("run", "-q", "--name", "nightly-1", "--", "true")
    failed = shell("run", "-q", "--name", "nightly-2", "--retries", "1", "--", "sh", "-c", "echo gone >&2; exit 3")
    assert failed.returncode == 1
    shell.ok("prune", "all")
    wait_until_recorded(shell)

    lines = shell.ok("history").splitlines()
    assert [line.split()[:5] for line in lines] == [
        ["JOB", "STATE", "TASKS", "DONE", "FAILED"],
        ["nightly-2", "failed", "1", "0", "1"],
        ["nightly-1", "completed", "1", "1", "0"],
    ]
    assert [run["job_name"] for run in shell.json("history", "--state", "failed", "--since", "1h")] == ["nightly-2"]
    assert shell.json("history", "--name", "other-*") == []
    assert "nothing is recorded" in shell.ok("history", "--label", "dag_id=none")

    text = shell.ok("history", "job", "nightly-2")
    assert "nightly-2: failed" in text
    assert text.count("exit code 3") >= 2
    [run] = json.loads(shell.ok("history", "job", "--json", "nightly-2"))
    assert [attempt["attempt"] for attempt in run["attempts"]] == [1, 2]
    assert run["progress"][-1]["failed_tasks"] == 1
    assert [task["status"] for task in run["tasks"]] == ["failed"]

    assert "nightly-1" in shell.ok("history", "slow")
    assert shell.ok("history", "failures").splitlines()[1].split()[:3] == ["2", "1", "failed"]
    found = shell.ok(
        "history", "sql", "SELECT state, count(*) AS runs FROM air_executor_jobs GROUP BY state ORDER BY 1"
    )
    assert [line.split() for line in found.splitlines()] == [["state", "runs"], ["completed", "1"], ["failed", "1"]]
    refused = shell("history", "sql", "DELETE FROM air_executor_jobs")
    assert (refused.returncode, "readonly" in refused.stderr) == (5, True)

    missing = shell("history", "job", "nobody")
    assert (missing.returncode, missing.stdout) == (4, "")
    misplaced = shell("history", "--json", "slow")
    assert (misplaced.returncode, "stand behind it" in misplaced.stderr) == (2, True)
    assert "--base-path" not in shell.ok("history", "--base-path", str(shell.root), "slow")

    doctor = {each["subject"]: each for each in shell.json("doctor")["findings"]}
    assert doctor["history"]["verdict"] == "ok"
    shell.ok("history", "prune", "--older-than", "0", "--dry-run")
    assert len(shell.json("history")) == 2
    shell.ok("history", "prune", "--older-than", "0")
    assert shell.json("history") == []


def test_without_a_history_the_remedy_is_named(shell: Shell) -> None:
    result = shell("history")
    assert result.returncode == 5
    assert "history" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (shell.root / "history.db").exists()


def test_a_password_is_not_shown(shell: Shell) -> None:
    result = shell("history", AIR_EXECUTOR_HISTORY_URL="postgresql://me:sesame@127.0.0.1:1/db")
    assert result.returncode == 5
    assert "127.0.0.1" in result.stderr
    assert "sesame" not in result.stderr
