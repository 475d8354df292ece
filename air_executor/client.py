"""The verbs of Air-Executor for Python programs: submit, look, queue, cancel. Any number of processes may use it at once."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from air_executor.config import find_base_path
from air_executor.core.specs import JobOptions, JobSpec, TaskSpec, check_tasks
from air_executor.errors import (
    AirExecutorError,
    DamagedFileError,
    InvalidJobError,
    JobExistsError,
    JobNotFinishedError,
    JobNotFoundError,
    TaskConflictError,
)
from air_executor.manager_process import ensure_manager, start_manager
from air_executor.store.archive import find_job, look_in_job, remove_job
from air_executor.store.ended import ended_names, forget_ended
from air_executor.store.environments import save_environment
from air_executor.store.files import MAX_FILE_BYTES, decode_json, read_bytes
from air_executor.store.locks import manager_is_running
from air_executor.store.records import StateRecord, SubmittedState, SubmittedTask, TaskRecord, as_utc, spec_of
from air_executor.store.requests import CancelJob, CloseJob, QueueTasks, RetryTasks, WarmUp, await_reply, send_request
from air_executor.store.root import Root, log_name, result_name
from air_executor.store.status import ManagerStatus, read_status
from air_executor.store.submission import submit_job

if TYPE_CHECKING:
    from air_executor.core.explanation import ManagerFacts
    from air_executor.store.watch import Watch

_MAX_RESULT_BYTES = 1024 * 1024
_LOOK_S = 5.0
_REPLY_S = 10.0
"""How long a request waits for the manager's word; the request itself is on disk all the same."""

JobView = StateRecord
TaskView = TaskRecord


class AirExecutorClient:
    """Reads and writes the files of one base path; a manager that runs there does the work, now or later."""

    def __init__(self, base_path: str | os.PathLike[str] | None = None, *, create: bool = True) -> None:
        """Open the base path.

        :param base_path: None finds it as `find_base_path` says.
        :param create: create it if it is missing; otherwise that is an error.
        :raises RootError: it cannot be used; the message says why.
        """
        self._root = Root.open(find_base_path(base_path), create=create)

    @property
    def base_path(self) -> Path:
        """Return the directory that holds everything."""
        return self._root.path

    # Submitting

    def submit(self, spec: JobSpec, attachments: Mapping[str, bytes] | None = None, *, exist_ok: bool = False) -> str:
        """Submit a job and return its name; when this returns, the job is on disk, whole.

        :param attachments: further files of the job's directory by name, readable by their owner alone.
        :param exist_ok: do nothing if a job of this name exists.
        :raises InvalidJobError: the job is not valid (also InvalidNameError).
        :raises JobExistsError: a job of this name exists.
        :raises SubmissionError: it could not be written; nothing of it was kept.
        """
        try:
            submit_job(self._root, spec, attachments)
        except JobExistsError:
            if not exist_ok:
                raise
        return spec.name

    def create_job(self, job_name: str, tasks: Sequence[Mapping[str, Any]], **options: Any) -> str:
        """Submit a job of tasks given as dictionaries and return its name.

        :param tasks: fields of `TaskSpec`; only `command` is needed, ids default to `task-1`, `task-2`, ...
        :param options: fields of `JobOptions`.
        :raises InvalidJobError: a field is unknown or has a value that it cannot have; it is named.
        """
        specs = tuple(task_spec(task, position) for position, task in enumerate(tasks, start=1))
        try:
            job_options = msgspec.convert(options, JobOptions)
        except msgspec.ValidationError as error:
            raise InvalidJobError(f"job {job_name}: options: {error}") from error
        return self.submit(JobSpec(name=job_name, tasks=specs, options=job_options))

    def queue(self, name: str, tasks: Iterable[TaskSpec]) -> None:
        """Add tasks to a job that is not over; those that it has already are left as they are.

        When this returns they are on disk, and if a manager runs, it has taken them.

        :raises JobNotFoundError: there is no such job.
        :raises InvalidJobError: a task is not valid, has the id of another one, or depends on one that does not exist.
        """
        specs = tuple(tasks)
        check_tasks(specs)
        if not self.manager_is_running():
            # Nobody would tell this caller later.
            self._refuse_conflicts(name, specs)
        self._ask(QueueTasks(job=name, tasks=specs))

    def cancel(self, name: str, reason: str = "") -> None:
        """End a job and every process of it.

        :raises JobNotFoundError: there is no such job.
        """
        if not self.job(name).state.is_terminal:
            send_request(self._root, CancelJob(job=name, reason=reason))

    def close(self, name: str) -> None:
        """Let an open job finish when its tasks have.

        :raises JobNotFoundError: there is no such job.
        """
        self._ask(CloseJob(job=name))

    def retry(self, name: str, task_ids: Sequence[str] | None = None) -> None:
        """Run tasks again that ended without completing, and what was skipped because of them; a job that was over goes on.

        :param task_ids: None for all that failed, were skipped or cancelled.
        :raises JobNotFoundError: there is no such job.
        :raises InvalidJobError: a task does not exist, is not over, or has completed.
        """
        self._ask(RetryTasks(job=name, tasks=None if task_ids is None else tuple(task_ids)))

    def remove(self, name: str) -> None:
        """Remove a job that is over, with its logs.

        :raises JobNotFoundError: there is no such job.
        :raises JobNotFinishedError: it is not over.
        """
        if not self.job(name).state.is_terminal:
            raise JobNotFinishedError(f"job {name} is not over: cancel it first")
        remove_job(self._root, name)

    # Looking

    def job_names(self) -> list[str]:
        """Return the names of the jobs in jobs/, sorted; those that were archived are not among them."""
        return sorted(self._root.job_names())

    def job_path(self, name: str) -> Path:
        """Return the directory of a job, also of an archived one, whether it exists or not."""
        return find_job(self._root, name)

    def job(self, name: str) -> JobView:
        """Return what state.json says.

        :raises JobNotFoundError: there is no such job.
        :raises DamagedFileError: state.json cannot be read.
        """
        content, status, path = self._read(name, "state.json")
        try:
            return decode_json(content, StateRecord, path)
        except DamagedFileError:
            # Written by hand, with less in it.
            state = decode_json(content, SubmittedState, path)
        written_at = datetime.fromtimestamp(status.st_mtime, timezone.utc)
        return StateRecord(
            id=state.id or name,
            name=name,
            state=state.state,
            created_at=as_utc(state.created_at, written_at),
            updated_at=as_utc(state.updated_at, written_at),
            error=state.error,
            options=state.options,
            labels=state.labels,
        )

    def jobs(self) -> list[JobView]:
        """Return all jobs in jobs/ that can be read, those that changed last first."""
        return self._readable(self._root.job_names())

    def archived_names(self) -> list[str]:
        """Return the names of the jobs that were moved to archive/, sorted; one whose name another job in jobs/ has is not found any more."""
        return sorted(set(self._root.archived_names()) - set(self._root.job_names()))

    def archived_jobs(self) -> list[JobView]:
        """Return all archived jobs that can be read, those that changed last first."""
        return self._readable(self.archived_names())

    def tasks(self, name: str) -> list[TaskView]:
        """Return what tasks.json says.

        :raises JobNotFoundError: there is no such job.
        :raises DamagedFileError: tasks.json cannot be read.
        """
        content, status, path = self._read(name, "tasks.json")
        try:
            return decode_json(content, list[TaskRecord], path)
        except DamagedFileError:
            submitted = decode_json(content, list[SubmittedTask], path)
        written_at = datetime.fromtimestamp(status.st_mtime, timezone.utc)
        return [_as_record(name, task, position, written_at) for position, task in enumerate(submitted, start=1)]

    def log_path(self, name: str, task_id: str, attempt: int) -> Path:
        """Return the log file of an attempt, whether it exists or not."""
        return self.job_path(name) / log_name(task_id, attempt)

    def read_log(self, name: str, task_id: str, attempt: int | None = None) -> bytes:
        """Return the output of an attempt; empty if it has not started.

        :param attempt: None for the newest.
        :raises JobNotFoundError: there is no such job, or it has no such task.
        """
        number = self._task(name, task_id).attempt if attempt is None else attempt
        try:
            return self.read_file(name, log_name(task_id, number))
        except FileNotFoundError:
            return b""

    def result(self, name: str, task_id: str) -> Any:
        """Return what the newest attempt of a task left in $AIR_EXECUTOR_RESULT_FILE; None if it left nothing.

        :raises JobNotFoundError: there is no such job, or it has no such task.
        :raises DamagedFileError: it is no JSON, or longer than a MiB.
        """
        return self.result_of(name, self._task(name, task_id))

    def result_of(self, name: str, task: TaskView) -> Any:
        """Do as `result` for a task of `tasks`, without reading tasks.json again."""
        file = result_name(task.id, task.attempt)
        try:
            return decode_json(self.read_file(name, file, _MAX_RESULT_BYTES), Any, self.job_path(name) / file)
        except FileNotFoundError:
            return None

    def read_file(self, name: str, file: str, limit: int = MAX_FILE_BYTES) -> bytes:
        """Return the content of a file of a job, also of one that is being archived.

        :param file: path within the job's directory.
        :raises FileNotFoundError: there is no such job, or file.
        :raises DamagedFileError: it is no regular file, or larger than `limit` bytes.
        """
        return look_in_job(self._root, name, lambda directory: read_bytes(directory / file, limit)[0])

    def watch_job(self, name: str) -> Watch:
        """Return a watch that wakes when the views of a job change; close it after use.

        :raises JobNotFoundError: there is no such job.
        """
        try:
            return look_in_job(self._root, name, _watch_job)
        except (FileNotFoundError, NotADirectoryError):
            raise self._not_found(name, "state.json") from None

    def watch_jobs(self) -> Watch:
        """Return a watch that wakes when a job appears in jobs/; close it after use."""
        return _watch(self._root.jobs)

    def wait(self, name: str, timeout_s: float | None = None) -> JobView:
        """Return a job as it is when it is over, or after `timeout_s` seconds as it is then.

        :raises JobNotFoundError: there is no such job.
        """
        deadline = math.inf if timeout_s is None else time.monotonic() + timeout_s
        with self.watch_job(name) as watch:
            while True:
                view = self.job(name)
                left_s = deadline - time.monotonic()
                if view.state.is_terminal or left_s <= 0:
                    return view
                # Events may be lost: look now and then.
                watch.wait(min(left_s, _LOOK_S))

    async def await_job(self, name: str, timeout_s: float | None = None) -> JobView:
        """Do as `wait` without holding a thread: the event loop watches a descriptor.

        :raises JobNotFoundError: there is no such job.
        """
        import asyncio

        loop = asyncio.get_running_loop()
        deadline = math.inf if timeout_s is None else loop.time() + timeout_s
        changed = asyncio.Event()
        with self.watch_job(name) as watch:
            loop.add_reader(watch.fileno(), changed.set)
            try:
                while True:
                    view = self.job(name)
                    left_s = deadline - loop.time()
                    if view.state.is_terminal or left_s <= 0:
                        return view
                    with contextlib.suppress(asyncio.TimeoutError):
                        await asyncio.wait_for(changed.wait(), min(left_s, _LOOK_S))
                    watch.take()
                    changed.clear()
            finally:
                loop.remove_reader(watch.fileno())

    # Waiting for announced jobs

    def ended_names(self) -> list[str]:
        """Return the names of jobs that ended and were submitted with `announce`; costs by their number only."""
        return ended_names(self._root)

    def forget_ended(self, name: str) -> None:
        """Take note of an announced end, so that it is not returned again."""
        forget_ended(self._root, name)

    def watch_ended(self) -> Watch:
        """Return a watch that wakes when a job's end is announced; close it after use."""
        return _watch(self._root.ended)

    # The manager

    def save_environment(self, python: str, variables: Mapping[str, str], cwd: str) -> str:
        """Keep an environment for `JobOptions.environment` and return its digest.

        :raises OSError: it could not be written.
        """
        return save_environment(self._root, python, variables, cwd)

    def warm_up(self, environment: str) -> None:
        """Have the manager start the warm parent of this environment before its first task.

        :raises SubmissionError: the request could not be written.
        """
        send_request(self._root, WarmUp(environment=environment), durable=False)

    def manager_is_running(self) -> bool:
        """Claim that a manager holds this base path."""
        return manager_is_running(self._root)

    def manager_status(self) -> ManagerStatus | None:
        """Return what the manager last told of itself, at most a second ago; None if none runs."""
        return read_status(self._root) if self.manager_is_running() else None

    def manager_facts(self, job: JobView) -> ManagerFacts | None:
        """Return what an explanation of the job's tasks needs to know of the manager; None if none runs."""
        from air_executor.core.explanation import ManagerFacts

        if not self.manager_is_running():
            return None
        status = self.manager_status()
        if status is None:
            return ManagerFacts()
        return ManagerFacts(
            status.slots, status.used_slots(is_announced=job.options.announce), is_draining=status.is_draining
        )

    def start_manager(self, **options: float | bool | str) -> int:
        """Start a manager that outlives this process, unless one runs, and return its pid.

        :param options: fields of `ManagerSettings`, as `slots=8`.
        :raises RootError: it did not start; the message holds its own words.
        """
        return start_manager(self._root, options)

    def ensure_manager(self, wait_s: float = 0.0, **options: float | bool | str) -> int | None:
        """Do as `start_manager`, but wait for `wait_s` seconds only; None says that it is still starting: call again.

        :raises RootError: it did not start; the message holds its own words.
        """
        return ensure_manager(self._root, options, wait_s)

    def _readable(self, names: Iterable[str]) -> list[JobView]:
        views: list[JobView] = []
        for name in names:
            with contextlib.suppress(AirExecutorError, OSError):
                views.append(self.job(name))
        return sorted(views, key=lambda view: view.updated_at, reverse=True)

    def _refuse_conflicts(self, name: str, specs: Sequence[TaskSpec]) -> None:
        view = self.job(name)
        if view.state.is_terminal:
            raise InvalidJobError(f"job {name} is over ({view.state.value}): nothing can be added to it")
        known = {task.id: task for task in self.tasks(name)}
        for spec in specs:
            task = known.get(spec.id)
            if task is not None and (task.command, task.args) != (spec.command, spec.args):
                raise TaskConflictError(f"job {name} has a task {spec.id!r} with another command: choose another id")

    def _ask(self, request: QueueTasks | CloseJob | RetryTasks) -> None:
        self.job(request.job)
        path = send_request(self._root, request)
        if self.manager_is_running():
            await_reply(path, _REPLY_S)

    def _task(self, name: str, task_id: str) -> TaskView:
        for task in self.tasks(name):
            if task.id == task_id:
                return task
        raise JobNotFoundError(f"job {name} has no task {task_id!r}")

    def _read(self, name: str, file: str) -> tuple[bytes, os.stat_result, Path]:
        def read(directory: Path) -> tuple[bytes, os.stat_result, Path]:
            return *read_bytes(directory / file), directory / file

        try:
            return look_in_job(self._root, name, read)
        except FileNotFoundError:
            raise self._not_found(name, file) from None

    def _not_found(self, name: str, file: str) -> JobNotFoundError:
        return JobNotFoundError(f"there is no job {name} under {self._root.path} (no {file})")


def _watch(directory: Path) -> Watch:
    # Not before it is needed: it takes longer to import than most commands take to run.
    from air_executor.store.watch import Watch

    return Watch((directory,))


def _watch_job(directory: Path) -> Watch:
    os.lstat(directory / "state.json")
    return _watch(directory)


def task_spec(task: Mapping[str, Any], position: int) -> TaskSpec:
    """Return the spec in a dictionary with the fields of `TaskSpec`; one without an id is called `task-<position>`.

    :raises InvalidJobError: a field is unknown or has a value that it cannot have; it is named.
    """
    unknown = task.keys() - set(SubmittedTask.__struct_fields__)
    if unknown:
        raise InvalidJobError(f"task {position}: unknown field {sorted(unknown)[0]!r}")
    try:
        return spec_of(msgspec.convert(dict(task), SubmittedTask), position)
    except msgspec.ValidationError as error:
        raise InvalidJobError(f"task {position}: {error}") from error


def _as_record(name: str, task: SubmittedTask, position: int, written_at: datetime) -> TaskRecord:
    return TaskRecord(
        **msgspec.structs.asdict(spec_of(task, position)),
        job_name=name,
        status=task.status,
        created_at=as_utc(task.created_at, written_at),
        started_at=task.started_at,
        completed_at=task.completed_at,
        error=task.error,
        attempt=task.attempt,
    )
