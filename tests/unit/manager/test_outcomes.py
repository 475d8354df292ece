"""The words for how an attempt ended."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from air_executor.core.events import Outcome
from air_executor.manager import outcomes
from air_executor.manager.attempts import Attempt, attempt_id
from air_executor.process.protocol import Ended, Launch, NotStarted, Started
from tests.support.jobs import at, job_of, task

NOW = at(10)


def attempt(tmp_path: Path, output: str = "", **fields: Any) -> Attempt:
    job = job_of(task("a", **fields))
    log = tmp_path / "a.1.log"
    log.write_text(output)
    launch = Launch(attempt_id=attempt_id(job, "a", 1), log_path=str(log), command="true")
    return Attempt(job, job.tasks["a"], 1, launch)


def ended(**fields: Any) -> Ended:
    return Ended(attempt_id="x", at=at(5).timestamp(), **fields)


def test_success_needs_no_words(tmp_path: Path) -> None:
    found = attempt(tmp_path, "some output")
    found.started = Started(attempt_id="x", pid=1, start_ticks=1, boot_id="b", at=at(2).timestamp(), log_path="l")
    event = outcomes.from_ended(found, ended(exit_code=0, cpu_s=0.5, peak_memory_bytes=7, killed=("x (1)",)), NOW)
    assert (event.outcome, event.error, event.exit_code, event.retry_at) == (Outcome.COMPLETED, None, 0, None)
    assert (event.started_at, event.at) == (at(2), at(5))
    assert (event.cpu_s, event.peak_memory_bytes, event.killed) == (0.5, 7, ("x (1)",))


@pytest.mark.parametrize(
    ("end", "output", "outcome", "error"),
    [
        ({"exit_code": 1}, "", Outcome.FAILED, "exit code 1"),
        ({"exit_code": 1}, "a\nb\n", Outcome.FAILED, "exit code 1; last lines: a\nb"),
        ({"exit_code": 1}, "\n".join("123456789"), Outcome.FAILED, "exit code 1; last lines: 5\n6\n7\n8\n9"),
        ({"signal": 15}, "", Outcome.FAILED, "killed by signal 15 (SIGTERM)"),
        ({"signal": 64}, "", Outcome.FAILED, "killed by signal 64 (SIGRTMAX)"),
        ({"signal": 63}, "", Outcome.FAILED, "killed by signal 63"),
        ({"signal": 9, "out_of_memory": True}, "", Outcome.OUT_OF_MEMORY, "out of memory: it used more than"),
    ],
)
def test_failures(tmp_path: Path, end: dict[str, Any], output: str, outcome: Outcome, error: str) -> None:
    event = outcomes.from_ended(attempt(tmp_path, output, memory_limit_bytes=5), ended(**end), NOW)
    assert event.outcome is outcome
    assert event.error == error or (outcome is Outcome.OUT_OF_MEMORY and event.error.startswith(error))


def test_a_kill_that_we_did_not_send_hints_at_memory(tmp_path: Path) -> None:
    event = outcomes.from_ended(attempt(tmp_path), ended(signal=9), NOW)
    assert event.error == (
        "killed by signal 9 (SIGKILL), not sent by Air-Executor; the kernel ends processes so when memory runs out"
    )


@pytest.mark.parametrize("end", [{"exit_code": 0}, {"signal": 15}, {"exit_code": 143}])
@pytest.mark.parametrize(
    ("cause", "error"),
    [
        (Outcome.TIMED_OUT, "timeout: it took longer than 2.5 s and was ended"),
        (Outcome.CANCELLED, "cancelled while it ran"),
        (Outcome.OUT_OF_MEMORY, "out of memory: it used more than its limit of 5 bytes and was ended"),
    ],
)
def test_what_we_stopped_has_not_completed_whatever_it_says(
    tmp_path: Path, end: dict[str, Any], cause: Outcome, error: str
) -> None:
    found = attempt(tmp_path, timeout_s=2.5, memory_limit_bytes=5)
    found.stop_cause = cause
    event = outcomes.from_ended(found, ended(**end), NOW)
    assert event.outcome is cause
    assert event.error is not None
    assert event.error.startswith(error)


def test_lost(tmp_path: Path) -> None:
    found = attempt(tmp_path, retries=1, retry_delay_s=3)
    event = outcomes.from_lost(found, ("x (1)",), NOW)
    assert (event.outcome, event.killed, event.retry_at) == (Outcome.LOST, ("x (1)",), at(13))
    assert "nobody saw how it ended" in str(event.error)
    found.stop_cause = Outcome.CANCELLED
    event = outcomes.from_lost(found, (), NOW)
    assert (event.outcome, event.error, event.retry_at) == (
        Outcome.CANCELLED,
        "cancelled; how its process ended was not seen",
        None,
    )


def test_what_never_started(tmp_path: Path) -> None:
    found = attempt(tmp_path)
    report = NotStarted(attempt_id="x", at=1.0, error="command not found: x")
    event = outcomes.from_not_started(found, report, NOW)
    assert (event.outcome, event.error) == (Outcome.NOT_STARTED, "could not start: command not found: x")
    found.stop_cause = Outcome.TIMED_OUT
    event = outcomes.from_never_started(found, NOW)
    assert (event.outcome, event.error) == (Outcome.TIMED_OUT, "timed out before it started")


@pytest.mark.parametrize("kind", ["missing", "link", "huge", "binary"])
def test_any_log_will_do(tmp_path: Path, kind: str) -> None:
    found = attempt(tmp_path)
    log = Path(found.launch.log_path)
    if kind == "missing":
        log.unlink()
    elif kind == "link":
        log.unlink()
        (tmp_path / "secret").write_text("secret")
        log.symlink_to("secret")
    elif kind == "huge":
        log.write_bytes(b"x" * 5_000_000)
    else:
        log.write_bytes(os.urandom(3000))
    error = str(outcomes.from_ended(found, ended(exit_code=1), NOW).error)
    assert error.startswith("exit code 1")
    assert "secret" not in error
    assert len(error) < 5000


def test_retries_count_the_failures_before(tmp_path: Path) -> None:
    found = attempt(tmp_path, retries=1)
    assert outcomes.from_ended(found, ended(exit_code=1), NOW).retry_at == NOW
    found.task.failures = 1
    assert outcomes.from_ended(found, ended(exit_code=1), NOW).retry_at is None
