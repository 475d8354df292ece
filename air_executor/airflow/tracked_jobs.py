"""Which job runs which workload of one executor. Holds names and keys, knows nothing of files."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass
class TrackedJob:
    """One job whose end the executor waits for."""

    name: str
    key: Any
    success_state: Any
    failure_state: Any
    log_path: str | None = None


class TrackedJobs:
    """The jobs of one executor, by name and by workload key.

    A key may come back while its former job is still tracked: a deferred task resumes with the same try number. The
    newer job owns the key then; the end of the former one is nobody's news.
    """

    def __init__(self) -> None:
        self._by_name: dict[str, TrackedJob] = {}
        self._name_by_key: dict[Hashable, str] = {}

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[TrackedJob]:
        return iter(list(self._by_name.values()))

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def add(self, job: TrackedJob) -> None:
        """Track a job; it owns its key from now on."""
        self._by_name[job.name] = job
        self._name_by_key[job.key] = job.name

    def get(self, name: str) -> TrackedJob | None:
        """Return the job of that name."""
        return self._by_name.get(name)

    def find(self, key: Hashable) -> TrackedJob | None:
        """Return the job that owns a key."""
        name = self._name_by_key.get(key)
        return None if name is None else self._by_name.get(name)

    def owns_key(self, job: TrackedJob) -> bool:
        """Tell whether no newer job has taken over the job's key."""
        return self._name_by_key.get(job.key) == job.name

    def release(self, key: Hashable) -> None:
        """Have no job own a key: the end of the one that did is nobody's news any more. Idempotent."""
        self._name_by_key.pop(key, None)

    def remove(self, job: TrackedJob) -> None:
        """Forget a job; idempotent."""
        self._by_name.pop(job.name, None)
        if self._name_by_key.get(job.key) == job.name:
            del self._name_by_key[job.key]
