"""Following jobs until they are over: progress, failures as they come, and the output of tasks."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from air_executor.cli.options import command_line
from air_executor.cli.output import colour
from air_executor.cli.quantities import show_command, show_duration, show_plain
from air_executor.core.states import JobState, TaskStatus
from air_executor.errors import JobNotFoundError

if TYPE_CHECKING:
    from air_executor.cli.progress import Progress
    from air_executor.client import AirExecutorClient, JobView, TaskView

_LOOK_S = 1.0
_SHOWN_FAILURES = 5
_FAILURE_PAUSE_S = 1.0
_LINES = "; last lines: "


def follow(client: AirExecutorClient, name: str, pause_s: float = _LOOK_S) -> Iterator[JobView]:
    """Yield a job as it is now, each time that it may have changed, and last as it is when it is over."""
    with client.watch_job(name) as watch:
        while True:
            view = _read_job(client, name)
            yield view
            if view.state.is_terminal:
                return
            watch.wait(pause_s)


class Follower:
    """Shows one job while it runs: progress, its failures, and with `shows_output` what its tasks print."""

    def __init__(self, client: AirExecutorClient, name: str, progress: Progress, *, shows_output: bool) -> None:
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

    def __init__(self, client: AirExecutorClient, name: str, progress: Progress) -> None:
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
                copy_from(path, 0)


class LiveOutput:
    """Prints what the one task of a job writes, as it writes it, through all its attempts."""

    def __init__(self, client: AirExecutorClient, name: str) -> None:
        """Print nothing yet."""
        self._client = client
        self._name = name
        self._attempt = 0
        self._path: Path | None = None
        self._offset = 0

    def show(self) -> None:
        """Print what is new."""
        tasks = self._client.tasks(self._name)
        if len(tasks) == 1 and tasks[0].attempt != self._attempt:
            self.pump()
            if self._attempt:
                click.echo(f"{tasks[0].id}: attempt {tasks[0].attempt}", err=True)
            self._attempt, self._offset = tasks[0].attempt, 0
            self._path = self._client.log_path(self._name, tasks[0].id, self._attempt)
        self.pump()

    def pump(self) -> None:
        """Print what is new of the attempt that is followed."""
        if self._path is not None:
            self._offset = copy_from(self._path, self._offset)


def follow_output(client: AirExecutorClient, name: str) -> JobView:
    """Print the output of a job's one task while it runs; return the job once it is over."""
    output = LiveOutput(client, name)
    shown_at: object = None
    # File events tell of new views, not of what is written to a log: that is looked at.
    for view in follow(client, name, pause_s=0.1):
        if view.updated_at != shown_at:
            shown_at = view.updated_at
            output.show()
        output.pump()
    return view


def copy_from(path: Path, offset: int) -> int:
    """Copy a file from `offset` to standard output, and return where it ended."""
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            while chunk := file.read(1 << 16):
                sys.stdout.buffer.write(chunk)
                offset += len(chunk)
    except FileNotFoundError:
        # The fork server has not made it yet.
        return offset
    sys.stdout.buffer.flush()
    return offset


def describe_failure(name: str, task: TaskView, *, with_lines: bool = True) -> str:
    """Return why a task failed, with its last lines and where to find all of them."""
    cause, _, tail = (task.error or "no cause is recorded").partition(_LINES)
    attempts = f" after {task.attempt} attempts" if task.attempt > 1 else ""
    what = f"{show_plain(task.id)} {colour('failed', sys.stderr)}{attempts}: {cause.strip()}"
    lines = [f"{what}  ({show_command(task.command, task.args)[:80]})"]
    if with_lines and tail:
        lines += [f"    {line}" for line in map(show_plain, tail.splitlines())]
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
    if view.state is JobState.CANCELLED and view.error:
        line += f" ({view.error})"
    if view.state is JobState.FAILED and not failed and view.error:
        line += f" ({view.error})"
    if view.state is not JobState.COMPLETED or failed:
        line += f"; `{command_line('retry', view.name, '--failed')}` runs again what did not complete"
    return line


def runs_on(name: str) -> str:
    """Return what a person who stops watching wants to know."""
    return (
        f"job {name} runs on: `{command_line('wait', name)}` or `{command_line('logs', '-f', name)}` follows it, "
        f"`{command_line('cancel', name)}` ends it"
    )


def _read_job(client: AirExecutorClient, name: str) -> JobView:
    try:
        return client.job(name)
    except JobNotFoundError:
        # It may have moved to the archive between two looks at it.
        time.sleep(0.01)
        return client.job(name)
