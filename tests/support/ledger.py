"""Reads the ledger that tasks append to: the witness that neither Airflow nor Air-Executor can deceive."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.support.waiting import wait_until


@dataclass(frozen=True)
class Entry:
    """One line: something happened to a task instance, in a process, at a time."""

    what: str
    dag: str
    task: str
    run: str
    index: int
    attempt: int
    pid: int
    at: float


class Ledger:
    """One ledger file."""

    def __init__(self, path: Path) -> None:
        """Name the file; it is made by the first task that writes."""
        self.path = path

    def entries(self, dag: str, run: str | None = None, what: str | None = None) -> list[Entry]:
        """Return the entries of a DAG, in the order in which they were written."""
        text = self.path.read_text() if self.path.exists() else ""
        words = (line.split() for line in text.splitlines())
        parsed = (Entry(w[0], w[1], w[2], w[3], int(w[4]), int(w[5]), int(w[6]), float(w[7])) for w in words)
        return [e for e in parsed if e.dag == dag and run in (None, e.run) and what in (None, e.what)]

    def counts(self, dag: str, run: str, what: str) -> dict[str, int]:
        """Return how often something happened, by task id."""
        return dict(Counter(entry.task for entry in self.entries(dag, run, what)))

    def wait_for(self, dag: str, run: str, what: str, count: int, timeout_s: float = 90) -> list[Entry]:
        """Wait until something has happened `count` times in a run and return those entries."""
        return wait_until(
            lambda: self.entries(dag, run, what),
            lambda seen: len(seen) >= count,
            timeout_s=timeout_s,
            interval_s=0.1,
            what=f"{count} x {what} in {dag}",
        )
