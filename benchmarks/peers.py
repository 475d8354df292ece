"""The other runners of small commands, each as it is usually called; who is not installed is named, not left out."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Peer:
    """One way to run N times the same command, `width` at once."""

    name: str
    keeps: str
    """What it writes down, in words."""
    program: str
    run: Callable[[list[str], int, int, Path], None]
    at_most: int = 10**9
    """It gets no more tasks than this: its cost per task grows with their number."""

    def tasks_per_s(self, command: list[str], count: int, width: int) -> float | None:
        """Return the rate, None if the program is not installed."""
        count = min(count, self.at_most)
        if shutil.which(self.program) is None:
            return None
        with tempfile.TemporaryDirectory() as directory:
            begin = time.perf_counter()
            self.run(command, count, width, Path(directory))
            return count / (time.perf_counter() - begin)


def _xargs(command: list[str], count: int, width: int, _: Path) -> None:
    numbers = "\n".join(map(str, range(count)))
    # With -I a line stands for a command, and is not added to its arguments.
    subprocess.run(["xargs", f"-P{width}", "-I{}", *command], input=numbers, text=True, check=True)


def _parallel(command: list[str], count: int, width: int, directory: Path) -> None:
    jobs = "\n".join([" ".join(command)] * count)
    subprocess.run(
        ["parallel", "--will-cite", f"-j{width}", "--joblog", str(directory / "joblog")],
        input=jobs,
        text=True,
        check=True,
    )


def _task_spooler(command: list[str], count: int, width: int, directory: Path) -> None:
    environment = {
        **os.environ,
        "TS_SOCKET": str(directory / "socket"),
        "TS_MAXFINISHED": "10",
        "TMPDIR": str(directory),
    }

    def call(*arguments: str) -> None:
        subprocess.run(["tsp", *arguments], env=environment, stdout=subprocess.DEVNULL, check=True)

    call("-S", str(width))
    try:
        # One shell for all submissions, as a person would write it.
        line = f"i=0; while [ $i -lt {count} ]; do tsp -n {' '.join(command)} >/dev/null; i=$((i+1)); done; tsp -w >/dev/null"
        subprocess.run(["sh", "-c", line], env=environment, check=True)
    finally:
        call("-K")


def _nq(command: list[str], count: int, _: int, directory: Path) -> None:
    environment = {**os.environ, "NQDIR": str(directory)}
    line = f"i=0; while [ $i -lt {count} ]; do nq -q {' '.join(command)} >/dev/null; i=$((i+1)); done; nq -w"
    subprocess.run(["sh", "-c", line], env=environment, check=True)


PEERS = (
    Peer("xargs -P", "nothing", "xargs", _xargs),
    Peer("GNU parallel --joblog", "a line a task", "parallel", _parallel),
    Peer("task-spooler", "nothing (memory)", "tsp", _task_spooler),
    # Each waits on the locks of all before it.
    Peer("nq (one at a time, 1,000 tasks)", "a log a task", "nq", _nq, at_most=1000),
)
