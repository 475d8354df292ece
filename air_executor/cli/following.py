"""Following jobs until they are over: progress, failures as they come, and the output of tasks."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from air_executor.cli.log_follower import LogFollower
from air_executor.cli.options import command_line
from air_executor.cli.output import colour
from air_executor.cli.plain_text import show_command, show_plain, split_error
from air_executor.core.quantities import show_duration
from air_executor.core.states import TaskStatus

if TYPE_CHECKING:
    from air_executor.cli.progress import ProgressDisplay
    from air_executor.client import AirExecutorClient, JobView, TaskView

_LOOK_S = 0.25
_SHORTEST_PAUSE_S = 0.01
_OUTPUT_S = 0.1
_SHOWN_FAILURES = 5
_FAILURE_PAUSE_S = 1.0


def follow(client: AirExecutorClient, name: str, longest_pause_s: float = _LOOK_S) -> Iterator[JobView]:
    """Yield a job as it is now, each time that it may have changed, and last as it is when it is over.

    Looks at the file and does not wait for events: those may come half a second late, and each who waits for them takes
    one of the few inotify instances that a user has. The pauses grow while nothing changes.
    """
    view = client.job(name)
    changed_at = time.monotonic()
    seen: tuple[int, int] | None = None
    while True:
        # Before the file is read: what changes meanwhile is then seen the next time.
        identity = _identity(client, name)
        if identity is None or identity != seen:
            view, seen, changed_at = client.job(name), identity, time.monotonic()
        yield view
        if view.state.is_terminal:
            return
        time.sleep(min(max((time.monotonic() - changed_at) / 10, _SHORTEST_PAUSE_S), longest_pause_s))


class Follower:
    """Shows one job while it runs: progress, its failures, and with `shows_output` what its tasks print."""

    def __init__(self, client: AirExecutorClient, name: str, progress: ProgressDisplay, *, shows_output: bool) -> None:
        """Begin to follow; nothing is read yet."""
        self._client = client
        self._name = name
        self._progress = progress
        self._output = GroupedOutput(client, name, progress) if shows_output else None
        self._reported: set[str] = set()
        self._seen_failures = 0
        self._next_report = 0.0

    def run(self) -> JobView:
        """Return the job once it is over."""
        for view in follow(self._client, self._name):
            self._progress.show(view)
            self._report(view)
        return view

    def _report(self, view: JobView) -> None:
        failed = view.tasks.get("failed", 0)
        now = time.monotonic()
        is_news = failed > self._seen_failures and (now >= self._next_report or view.state.is_terminal)
        if self._output is None and (not is_news or len(self._reported) >= _SHOWN_FAILURES):
            return
        # tasks.json of a large job is large: it is read when there is something new in it.
        tasks = self._client.tasks(self._name)
        self._next_report = now + _FAILURE_PAUSE_S
        self._seen_failures = failed
        if self._output is not None:
            self._output.show(tasks)
        for task in tasks:
            if task.status is TaskStatus.FAILED and task.id not in self._reported:
                if len(self._reported) >= _SHOWN_FAILURES:
                    break
                self._reported.add(task.id)
                self._progress.say(describe_failure(self._name, task, with_lines=self._output is None))


class GroupedOutput:
    """Prints what tasks wrote, each task's at once when it has ended, so that lines of different tasks never mix."""

    def __init__(self, client: AirExecutorClient, name: str, progress: ProgressDisplay) -> None:
        """Print nothing yet."""
        self._client = client
        self._name = name
        self._progress = progress
        self._printed: set[str] = set()

    def show(self, tasks: list[TaskView]) -> None:
        """Print the output of tasks that have ended since the last call."""
        ended = [task for task in tasks if task.status.is_terminal and task.attempt and task.id not in self._printed]
        for task in sorted(ended, key=lambda each: each.completed_at or each.created_at):
            self._printed.add(task.id)
            path = self._client.log_path(self._name, task.id, task.attempt)
            with self._progress.paused():
                _copy(path)


def follow_output(client: AirExecutorClient, name: str) -> JobView:
    """Print what the tasks of a job write, as they write it; return the job once it is over."""
    follower = LogFollower(client, name, lambda: client.tasks(name), every_attempt=True)
    shown_at: datetime | None = None
    for view in follow(client, name, _OUTPUT_S):
        if view.updated_at != shown_at:
            shown_at = view.updated_at
            follower.look()
        follower.pump()
    return view


def describe_failure(name: str, task: TaskView, *, with_lines: bool = True) -> str:
    """Return why a task failed, with its last lines and where to find all of them."""
    cause, last_lines = split_error(task.error)
    attempts = f" after {task.attempt} attempts" if task.attempt > 1 else ""
    what = f"{show_plain(task.id)} {colour('failed', sys.stderr)}{attempts}: {cause or 'no cause is recorded'}"
    lines = [f"{what}  ({show_command(task.command, task.args)[:80]})"]
    if with_lines and last_lines:
        lines += [f"    {line}" for line in last_lines]
        lines.append(f"    all of it: {command_line('logs', name, task.id)}")
    return "\n".join(lines)


def summarise(view: JobView) -> str:
    """Return how a job ended, in a line, and what to do about it."""
    total, failed = view.tasks.get("total", 0), view.tasks.get("failed", 0)
    took = show_duration((view.updated_at - view.created_at).total_seconds())
    line = f"job {view.name} {colour(view.state.value, sys.stderr)}: {view.tasks.get('completed', 0)} of {total} tasks completed"
    others = [
        f"{view.tasks[status]} {status}" for status in ("failed", "skipped", "cancelled") if view.tasks.get(status)
    ]
    line += "".join(f", {text}" for text in others) + f" in {took}"
    if view.error and not failed:
        line += f" ({view.error})"
    if view.tasks.get("completed", 0) < total:
        line += f"; `{command_line('retry', view.name)}` runs again what did not complete"
    return line


def runs_on(name: str) -> str:
    """Return what a person who stops watching wants to know."""
    return (
        f"job {name} runs on: `{command_line('wait', name)}` or `{command_line('logs', '-f', name)}` follows it, "
        f"`{command_line('cancel', name)}` ends it"
    )


def _identity(client: AirExecutorClient, name: str) -> tuple[int, int] | None:
    """Return what changes with each new state.json; None if it cannot be seen just now."""
    try:
        status = os.stat(client.job_path(name) / "state.json")
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _copy(path: Path) -> None:
    """Copy a file to standard output."""
    try:
        with open(path, "rb") as file:
            while chunk := file.read(1 << 16):
                sys.stdout.buffer.write(chunk)
    except FileNotFoundError:
        # It could not be started.
        return
    sys.stdout.buffer.flush()
