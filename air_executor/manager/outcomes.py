"""From what is known of an attempt's end to the event that records it, with the cause in words."""

from __future__ import annotations

import os
import signal
from datetime import datetime, timezone

from air_executor.core.events import Outcome, TaskEnded
from air_executor.core.retry import next_attempt_at
from air_executor.manager.attempts import Attempt
from air_executor.process.protocol import Ended, NotStarted

_TAIL_BYTES = 2000
_TAIL_LINES = 5
_OWN_ERROR_BYTES = 2048


def from_ended(attempt: Attempt, ended: Ended, now: datetime) -> TaskEnded:
    """Return the event for a runner whose exit was seen."""
    outcome = _outcome(attempt, ended)
    return _event(attempt, outcome, _explain(attempt, outcome, ended), now, ended)


def from_lost(attempt: Attempt, killed: tuple[str, ...], now: datetime) -> TaskEnded:
    """Return the event for an attempt that started and of which nothing lives, with no record of how it ended."""
    outcome = attempt.stop_cause or Outcome.LOST
    error = (
        "lost: it was started, its process is gone, and nobody saw how it ended "
        "(manager and fork server were killed while it ran, or the machine went down)"
    )
    if outcome is not Outcome.LOST:
        error = f"{outcome.value.replace('_', ' ')}; how its process ended was not seen"
    return _event(attempt, outcome, error, now, None, killed)


def from_not_started(attempt: Attempt, report: NotStarted, now: datetime) -> TaskEnded:
    """Return the event for an attempt of which no runner could be started."""
    return _event(attempt, attempt.stop_cause or Outcome.NOT_STARTED, f"could not start: {report.error}", now, None)


def from_never_started(attempt: Attempt, now: datetime) -> TaskEnded:
    """Return the event for an attempt that was stopped before it began."""
    outcome = attempt.stop_cause or Outcome.CANCELLED
    return _event(attempt, outcome, f"{outcome.value.replace('_', ' ')} before it started", now, None)


def _event(
    attempt: Attempt,
    outcome: Outcome,
    error: str | None,
    now: datetime,
    ended: Ended | None,
    killed: tuple[str, ...] = (),
) -> TaskEnded:
    started = attempt.started
    return TaskEnded(
        at=datetime.fromtimestamp(ended.at, timezone.utc) if ended else now,
        task=attempt.task.spec.id,
        attempt=attempt.number,
        outcome=outcome,
        started_at=datetime.fromtimestamp(started.at, timezone.utc) if started else None,
        error=error,
        exit_code=ended.exit_code if ended else None,
        signal=ended.signal if ended else None,
        cpu_s=ended.cpu_s if ended else None,
        peak_memory_bytes=ended.peak_memory_bytes if ended else None,
        killed=ended.killed if ended else killed,
        retry_at=next_attempt_at(attempt.task.spec, outcome, attempt.task.failures + 1, now),
    )


def _outcome(attempt: Attempt, ended: Ended) -> Outcome:
    # A program that catches SIGTERM may exit with 0: what we stopped has not completed.
    if attempt.stop_cause is not None:
        return attempt.stop_cause
    if ended.out_of_memory:
        return Outcome.OUT_OF_MEMORY
    return Outcome.COMPLETED if ended.exit_code == 0 else Outcome.FAILED


def _explain(attempt: Attempt, outcome: Outcome, ended: Ended) -> str | None:
    spec = attempt.task.spec
    if outcome is Outcome.COMPLETED:
        return None
    if outcome is Outcome.CANCELLED:
        return f"cancelled while it ran ({_exit(ended)})"
    if outcome is Outcome.TIMED_OUT:
        return f"timeout: it took longer than {spec.timeout_s:g} s and was ended{_tail(attempt)}"
    if outcome is Outcome.OUT_OF_MEMORY:
        return f"out of memory: it used more than its limit of {spec.memory_limit_bytes} bytes and was ended{_tail(attempt)}"
    hint = ""
    if ended.signal == signal.SIGKILL:
        hint = ", not sent by Air-Executor; the kernel ends processes so when memory runs out"
    own_words = _read_end(attempt.launch.env.get("AIR_EXECUTOR_ERROR_FILE", ""), _OWN_ERROR_BYTES)
    if own_words:
        return f"{own_words} ({_exit(ended)})"
    return f"{_exit(ended)}{hint}{_tail(attempt)}"


def _exit(ended: Ended) -> str:
    if ended.signal is None:
        return f"exit code {ended.exit_code}"
    try:
        name = f" ({signal.Signals(ended.signal).name})"
    except ValueError:
        name = ""
    return f"killed by signal {ended.signal}{name}"


def _tail(attempt: Attempt) -> str:
    """Return the last lines of the attempt's log, which hold its standard error."""
    lines = _read_end(attempt.launch.log_path, _TAIL_BYTES).splitlines()[-_TAIL_LINES:]
    return "; last lines: " + "\n".join(lines) if lines else ""


def _read_end(path: str, size_bytes: int) -> str:
    """Return the end of a text file, stripped; nothing if there is no such file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return ""
    try:
        return os.pread(fd, size_bytes, max(os.fstat(fd).st_size - size_bytes, 0)).decode("utf-8", "replace").strip()
    except OSError:
        return ""
    finally:
        os.close(fd)
