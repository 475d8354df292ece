"""Reads the views of jobs for those who ask often: what did not change is not read again."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from air_executor.client import AirExecutorClient, JobView, TaskView
from air_executor.core.progress import Progress
from air_executor.errors import AirExecutorError, DamagedFileError, JobNotFoundError
from air_executor.store.archive import look_in_job
from air_executor.store.files import decode_json, read_bytes
from air_executor.store.root import Root
from air_executor.web.answers import show_task
from air_executor.web.archived_jobs import ArchivedJobs
from air_executor.web.rates import Rates
from air_executor.web.view_cache import ViewCache

T = TypeVar("T")

_LIST_REUSE_S = 0.25
"""A list of all jobs is used this long; the manager writes views as often."""
_LIST_SHARE = 10.0
"""And so many times longer than it took to make."""
_MAX_JOBS = 20_000
_MAX_TASK_BYTES = 128 * 1024 * 1024
# A decoded task takes about four times the memory of its JSON.
_DECODED_FACTOR = 4
_OURS = b'[\n{"id":"'
# In compact JSON `,"cwd":` stands nowhere but where a field begins: within a string its quotes would be escaped.
_TEXT = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_HIDDEN = re.compile(rb',"(?:cwd|workload)":%s|,"env":\{(?:%s[:,]?)*\}' % (_TEXT, _TEXT))
_MOST_HIDDEN = 4


class _Shown(msgspec.Struct, gc=False):
    """A task without what is not shown: one that has it cannot be decoded so. This also tells whether the rest is JSON."""

    env: None = None
    cwd: None = None
    workload: None = None


class _Jobs(NamedTuple):
    read_at: float
    took_s: float
    jobs: list[JobView]
    names: frozenset[str]
    """Also of those that cannot be read."""


class JobReader:
    """The jobs of one base path as the HTTP interface shows them. Any thread may use it."""

    def __init__(self, client: AirExecutorClient) -> None:
        self.client = client
        self._root = Root(client.base_path)
        self._base = str(client.base_path)
        self._directories = tuple(os.path.join(self._base, name) for name in ("jobs", "archive"))
        self._rates = Rates()
        self._states: ViewCache[JobView] = ViewCache(_MAX_JOBS)
        self._raw: ViewCache[bytes] = ViewCache(_MAX_TASK_BYTES // 2, len)
        self._tasks: ViewCache[tuple[int, list[TaskView]]] = ViewCache(
            _MAX_TASK_BYTES // 2, lambda item: item[0] * _DECODED_FACTOR
        )
        self._jobs = _Jobs(float("-inf"), 0.0, [], frozenset())
        self._archived = ArchivedJobs(self._directories[1], lambda path: self._counted(self._read_job(path)))
        self._listing = threading.Lock()

    def job(self, name: str) -> JobView:
        """Return a job, also an archived one, with the counts of its tasks.

        :raises InvalidNameError: no job can have this name.
        :raises JobNotFoundError: there is no such job.
        :raises DamagedFileError: its files cannot be read.
        """
        return self._counted(self._look(name, "state.json", self._states, self._read_job))

    def jobs(self, *, with_archived: bool = False) -> list[JobView]:
        """Return the jobs in jobs/ that can be read, those that changed last first.

        :param with_archived: also the newest archived ones.
        """
        with self._listing:
            begin = time.monotonic()
            # Of very many jobs a list is used longer: however many ask, most of the time is left for other work.
            if begin - self._jobs.read_at > max(_LIST_REUSE_S, _LIST_SHARE * self._jobs.took_s):
                self._jobs = self._find_all(begin)
            listed = self._jobs
        if not with_archived:
            return listed.jobs
        # After jobs/: what moves meanwhile is found twice rather than never.
        archived = [job for job in self._archived.newest() if job.name not in listed.names]
        return sorted([*listed.jobs, *archived], key=_changed_at, reverse=True)

    def progress(self, job: JobView) -> Progress:
        """Return how far a job is; the more often this is asked, the better the rate is known."""
        return self._rates.measure(job)

    def tasks(self, name: str) -> list[TaskView]:
        """Return the tasks of a job as they are shown.

        :raises: as `job`.
        """
        return self._look(name, "tasks.json", self._tasks, self._read_tasks)[1]

    def tasks_json(self, name: str) -> bytes:
        """Return tasks.json as it is shown.

        :raises: as `job`.
        """
        return self._look(name, "tasks.json", self._raw, self._read_raw)

    def hide_paths(self, text: str) -> str:
        """Return a message without where the base path lies."""
        return text.replace(f"{self._base}/", "").replace(self._base, "the base path")

    def _find_all(self, begin: float) -> _Jobs:
        names = self._root.job_names()
        found = []
        for name in names:
            try:
                found.append(
                    self._counted(self._states.get(f"{self._directories[0]}/{name}/state.json", self._read_job))
                )
            except (AirExecutorError, OSError):
                # `air-executor doctor` tells of those.
                continue
        found.sort(key=_changed_at, reverse=True)
        now = time.monotonic()
        return _Jobs(now, now - begin, found, frozenset(names))

    def _look(self, name: str, file: str, cache: ViewCache[T], read: Callable[[str], T]) -> T:
        try:
            return look_in_job(self._root, name, lambda directory: cache.get(f"{directory}/{file}", read))
        except (FileNotFoundError, NotADirectoryError, JobNotFoundError):
            what = "" if file == "state.json" else f" with a {file}"
            raise JobNotFoundError(f"there is no job {name}{what}: `air-executor jobs` lists them") from None

    def _counted(self, job: JobView) -> JobView:
        if job.tasks:
            return job
        # Written by hand, and no manager has counted yet.
        try:
            counts = Counter(task.status.value for task in self.tasks(job.name))
        except (DamagedFileError, JobNotFoundError):
            return job
        return msgspec.structs.replace(job, tasks={"total": sum(counts.values()), **counts})

    def _read_job(self, path: str) -> JobView:
        job = self.client.job(_name_in(path))
        # What somebody else wrote into the file may be another one.
        job.name = _name_in(path)
        if job.error is not None:
            job.error = self.hide_paths(job.error)
        return job

    def _read_tasks(self, path: str) -> tuple[int, list[TaskView]]:
        return os.stat(path).st_size, [show_task(task) for task in self.client.tasks(_name_in(path))]

    def _read_raw(self, path: str) -> bytes:
        content, _ = read_bytes(Path(path))
        if content.startswith(_OURS):
            # Decoding and encoding 10,000 tasks takes longer than sending them. Most often they share a directory.
            for _ in range(_MOST_HIDDEN):
                with contextlib.suppress(DamagedFileError):
                    decode_json(content, list[_Shown], Path(path))
                    return content
                found = _HIDDEN.search(content)
                content = content.replace(found[0], b"") if found else b""
        return msgspec.json.encode(self.tasks(_name_in(path)))


def _changed_at(job: JobView) -> datetime:
    return job.updated_at


def _name_in(path: str) -> str:
    return path.rsplit("/", 2)[1]
