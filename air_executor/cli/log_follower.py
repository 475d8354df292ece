"""`logs -f`: what tasks write, as they write it, attempt after attempt."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from air_executor.cli.output import note
from air_executor.cli.plain_text import show_plain
from air_executor.core.states import TaskStatus

if TYPE_CHECKING:
    from air_executor.client import AirExecutorClient, TaskView

_PUMP_S = 0.1
_LOOK_S = 0.5
_CHUNK_BYTES = 1 << 16


class LogFollower:
    """Prints the logs of tasks. One task's is printed as it is; of several, each line begins with the task's id."""

    def __init__(
        self,
        client: AirExecutorClient,
        name: str,
        read_tasks: Callable[[], list[TaskView]],
        *,
        tail: int | None = None,
        every_attempt: bool = False,
    ) -> None:
        """Begin to follow; nothing is read yet.

        :param tail: of what is there at the beginning, print only so many lines.
        :param every_attempt: print also the attempts that were over at the beginning.
        """
        self._client = client
        self._name = name
        self._read_tasks = read_tasks
        self._tail = tail
        self._skips_older = not every_attempt
        self._live: dict[tuple[str, int], _Stream] = {}
        self._known: dict[str, int] = {}
        """The newest attempt of each task that is printed, or has been."""

    def run(self, *, until_job_is_over: bool) -> None:
        """Return when the job is over, or all tasks that are followed, and everything is printed."""
        next_look = 0.0
        is_over = False
        while not is_over:
            if time.monotonic() >= next_look:
                next_look = time.monotonic() + _LOOK_S
                # The job first: when it is over, what the tasks say after that is final.
                job_is_over = self._client.job(self._name).state.is_terminal
                tasks_are_over = self.look()
                is_over = job_is_over or (not until_job_is_over and tasks_are_over)
            self.pump()
            if not is_over:
                time.sleep(_PUMP_S)

    def look(self) -> bool:
        """Open what is new, mark what has ended; return True if all tasks are over."""
        tasks = self._read_tasks()
        for task in tasks:
            known = self._known.get(task.id, task.attempt - 1 if self._skips_older else 0)
            # An attempt that began and ended between two looks is not left out.
            for number in range(known + 1, task.attempt + 1):
                if number > 1:
                    note(f"{show_plain(task.id)}: attempt {number}")
                path = self._client.log_path(self._name, task.id, number)
                prefix = f"{show_plain(task.id)} | " if len(tasks) > 1 else ""
                self._live[task.id, number] = _Stream(path, prefix, self._tail)
            if task.attempt:
                self._known[task.id] = task.attempt
        newest = {(task.id, task.attempt): task.status for task in tasks}
        for key, stream in self._live.items():
            stream.is_over = newest.get(key) is not TaskStatus.RUNNING
        self._skips_older, self._tail = False, None
        return all(task.status.is_terminal for task in tasks)

    def pump(self) -> None:
        """Print what was written since the last call."""
        for key in list(self._live):
            self._live[key].pump(sys.stdout.buffer)
            if self._live[key].is_over:
                self._live.pop(key).finish(sys.stdout.buffer)
        sys.stdout.buffer.flush()


class _Stream:
    """One log, read from where it was left."""

    def __init__(self, path: Path, prefix: str, tail: int | None) -> None:
        self.is_over = False
        self._path = path
        self._prefix = prefix.encode("utf-8", "replace")
        self._tail = tail
        self._file: BinaryIO | None = None
        self._rest = b""
        """The beginning of a line that has not ended."""

    def pump(self, output: BinaryIO) -> None:
        """Print what is new."""
        if self._file is None:
            try:
                # Kept open: the job may move to the archive while it is read.
                self._file = open(self._path, "rb")  # noqa: SIM115 # closed by `finish`
            except FileNotFoundError:
                return
            if self._tail is not None:
                content = self._file.read().splitlines(keepends=True)
                self._print(b"".join(content[-self._tail :] if self._tail else []), output)
        while chunk := self._file.read(_CHUNK_BYTES):
            self._print(chunk, output)

    def finish(self, output: BinaryIO) -> None:
        """Print the last line even if it has no end, and close."""
        if self._rest:
            output.write(self._prefix + self._rest + b"\n")
            self._rest = b""
        if self._file is not None:
            self._file.close()

    def _print(self, content: bytes, output: BinaryIO) -> None:
        if not self._prefix:
            output.write(content)
            return
        *lines, self._rest = (self._rest + content).split(b"\n")
        output.writelines(self._prefix + line + b"\n" for line in lines)
