"""Reading a job's directory into a `Job`: submitted safely or by hand, half done by a manager that died, or checked out from Git."""

from __future__ import annotations

import os
import stat
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import NamedTuple

import msgspec

from air_executor.core.events import Event, JobAccepted, TaskRestored, TasksQueued
from air_executor.core.graph import check_acyclic, check_order
from air_executor.core.job import Job
from air_executor.core.specs import TaskSpec, check_tasks
from air_executor.core.states import TaskStatus
from air_executor.errors import AirExecutorError, DamagedFileError, InvalidJobError, TaskConflictError, TornFileError
from air_executor.store.files import decode_json, keep_refused, read_bytes, temporary_name
from air_executor.store.journal import Journal, replay
from air_executor.store.locks import is_locked
from air_executor.store.records import SubmittedState, SubmittedTask, as_utc, spec_of
from air_executor.store.root import Root
from air_executor.store.views import view_identity, view_written

_task_decoder = msgspec.json.Decoder(SubmittedTask)


class NotLoaded(Enum):
    """Why a directory gives no job now."""

    INCOMPLETE = "incomplete"
    """state.json or tasks.json is not there yet."""
    FINISHED = "finished"
    """state.json says that it has ended."""


class LoadedJob(NamedTuple):
    """A job that is not over, and the journal that goes on with it."""

    job: Job
    journal: Journal
    strangers: tuple[SubmittedTask, ...]
    """Elements of a tasks.json that somebody else put in place of ours, to be merged by `unknown_tasks`."""


def load_job(root: Root, name: str, now: datetime, *, reopen: bool = False) -> LoadedJob | NotLoaded:
    """Read one job.

    :param reopen: read it also if it is over, for a job that is to go on.
    :raises DamagedFileError: a file is damaged; nothing was changed.
    :raises InvalidJobError: the files hold no valid job; nothing was changed.
    :raises InvalidNameError: an id or the name is not allowed.
    """
    directory = root.job(name)
    _check_directory(directory)
    path = directory / "state.json"
    try:
        found = _read_state(path)
    except TornFileError:
        if not replay(directory / "journal")[0]:
            raise
        # A power cut can do that to a view; the journal is whole, and so is the job.
        keep_refused(path)
        found = None
    if found is not None and found[0].state.is_terminal and not reopen:
        return NotLoaded.FINISHED
    events, size = replay(directory / "journal")
    if events:
        return _go_on(root, name, events, size, found, now)
    return NotLoaded.INCOMPLETE if found is None else _accept(directory, name, *found, now, {})


def _read_state(path: Path) -> tuple[SubmittedState, os.stat_result] | None:
    try:
        content, status = read_bytes(path)
    except FileNotFoundError:
        return None
    return decode_json(content, SubmittedState, path), status


def _go_on(
    root: Root,
    name: str,
    events: Sequence[Event],
    size: int,
    found: tuple[SubmittedState, os.stat_result] | None,
    now: datetime,
) -> LoadedJob | NotLoaded:
    """Read a job that has a journal."""
    directory = root.job(name)
    job = rebuild(events)
    journal = Journal(directory / "journal", durable=job.options.durable, size=size)
    tasks_path = directory / "tasks.json"
    if view_identity(tasks_path) in job.view_identities:
        return LoadedJob(job, journal, ())
    try:
        strangers = read_tasks(tasks_path) or ()
    except TornFileError:
        strangers = ()
        keep_refused(tasks_path)
    is_state_ours = found is None or (found[1].st_ino, found[1].st_mtime_ns) in job.view_identities
    if found is None or not strangers or is_state_ours or any(task.id not in job.tasks for task in strangers):
        return LoadedJob(job, journal, strangers)
    # Two files that we did not write, with tasks that we know: an older state was put back, and its owner means it.
    alive = {
        task_id: job.tasks[task_id].attempt
        for task_id in job.running
        if is_locked(root.log(name, task_id, job.tasks[task_id].attempt))
    }
    found[0].id = found[0].id or job.id
    loaded = _accept(directory, name, *found, now, alive)
    if isinstance(loaded, LoadedJob):
        replaced = directory / "journal.replaced"
        replaced.unlink(missing_ok=True)
        os.link(directory / "journal", replaced)
        # At once: a manager that is killed now would leave the old journal to win again.
        loaded.journal.rewrite(None, root.tmp / temporary_name(f"{name}.journal"))
    return loaded


def rebuild(events: Sequence[Event]) -> Job:
    """Return the job that a journal tells of.

    :raises DamagedFileError: it does not begin with the acceptance of a job.
    """
    first = events[0]
    if not isinstance(first, JobAccepted):
        raise DamagedFileError("the journal does not begin with an accepted job; remove it to start from tasks.json")
    job = Job(first)
    for event in events[1:]:
        job.apply(event)
    return job


def read_tasks(path: Path) -> tuple[SubmittedTask, ...] | None:
    """Return the elements of a tasks.json, with ids; None if there is no such file.

    :raises DamagedFileError: it is not a list of tasks.
    """
    try:
        content, _ = read_bytes(path)
    except FileNotFoundError:
        return None
    return decode_json(content, tuple[SubmittedTask, ...], path)


def _iterate_tasks(content: bytes, path: Path) -> Iterator[SubmittedTask]:
    """Yield the elements of a tasks.json one by one: all at once, they would take more memory than the job keeps."""
    try:
        for element in msgspec.json.decode(content, type=list[msgspec.Raw]):
            yield _task_decoder.decode(element)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        # Read whole, the error tells where in the file it is.
        decode_json(content, tuple[SubmittedTask, ...], path)
        raise


def unknown_tasks(job: Job, strangers: tuple[SubmittedTask, ...], now: datetime) -> list[Event]:
    """Return the events that add to a job those tasks of a foreign tasks.json that it does not have.

    Tasks that it has keep the engine's own status, whatever the file says.

    :raises InvalidJobError: they are not valid, or a known id has another command.
    """
    given: dict[str, tuple[TaskSpec, SubmittedTask]] = {}
    for position, task in enumerate(strangers, start=1):
        spec = spec_of(task, position)
        first = given.setdefault(spec.id, (spec, task))[0]
        # A program that appends again when it is retried repeats itself; that adds nothing.
        if (first.command, first.args) != (spec.command, spec.args):
            raise TaskConflictError(f"task id {spec.id!r} occurs twice, with different commands; choose another id")
    new = job.new_tasks(tuple(spec for spec, _ in given.values()))
    if not new:
        return []
    restored = [event for spec in new for event in _restored(spec.id, given[spec.id][1], now)]
    return [TasksQueued(at=now, tasks=new), *restored]


def prepare_directory(root: Root, job: Job) -> None:
    """Make the directories that a job's attempts write to, which a job written by hand or checked out from Git may lack.

    :raises DamagedFileError: something else is there, as a symbolic link that leads out of the root.
    :raises OSError: they could not be made.
    """
    names = ("logs", "results") if job.options.durable else ("logs",)
    for name in names:
        path = root.job(job.name) / name
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            if not stat.S_ISDIR(os.lstat(path).st_mode):
                raise DamagedFileError(f"{path}: is not a directory; remove it and submit the job again") from None


def _accept(
    directory: Path,
    name: str,
    state: SubmittedState,
    state_status: os.stat_result,
    now: datetime,
    alive: Mapping[str, int],
) -> LoadedJob | NotLoaded:
    path = directory / "tasks.json"
    try:
        content, status = read_bytes(path)
    except FileNotFoundError:
        return NotLoaded.INCOMPLETE
    specs: list[TaskSpec] = []
    restored: list[Event] = []
    for position, task in enumerate(_iterate_tasks(content, path), start=1):
        spec = spec_of(task, position)
        specs.append(spec)
        if spec.id in alive:
            # Whatever the file says: a second copy of what runs must not start beside it.
            restored.append(TaskRestored(at=now, task=spec.id, status=TaskStatus.RUNNING, attempt=alive[spec.id]))
        else:
            restored.extend(_restored(spec.id, task, now))
    if not specs and not state.options.is_open:
        raise InvalidJobError(f"{path}: holds no task; give the job at least one")
    try:
        check_tasks(tuple(specs))
        (check_acyclic if state.options.is_open else check_order)(specs)
    except AirExecutorError as error:
        raise type(error)(f"{path}: {error}") from error
    accepted = JobAccepted(
        at=now,
        id=state.id or str(uuid.uuid4()),
        name=name,
        created_at=as_utc(state.created_at, now),
        options=state.options,
        labels=state.labels,
    )
    job = Job(accepted)
    journal = Journal(directory / "journal", durable=state.options.durable)
    journal.add(accepted)
    events: list[Event] = [TasksQueued(at=now, tasks=tuple(specs)), *restored]
    events += [view_written(status, now), view_written(state_status, now)]
    for event in events:
        journal.add(event)
        job.apply(event)
    return LoadedJob(job, journal, ())


def _restored(task_id: str, task: SubmittedTask, now: datetime) -> list[Event]:
    if task.status is TaskStatus.PENDING:
        return []
    return [
        TaskRestored(
            at=now,
            task=task_id,
            status=task.status,
            attempt=task.attempt,
            started_at=task.started_at and as_utc(task.started_at, now),
            completed_at=task.completed_at and as_utc(task.completed_at, now),
            error=task.error,
            outcome=task.outcome,
            exit_code=task.exit_code,
            signal=task.signal,
            cpu_s=task.cpu_s,
            peak_memory_bytes=task.peak_memory_bytes,
            killed=task.killed,
        )
    ]


def _check_directory(directory: Path) -> None:
    status = os.lstat(directory)
    if not stat.S_ISDIR(status.st_mode):
        raise DamagedFileError(f"{directory}: is not a directory (symbolic links are not followed); remove it")
    if status.st_uid != os.geteuid():
        raise DamagedFileError(f"{directory}: belongs to user {status.st_uid}, not to user {os.geteuid()}; remove it")
    # Its group may: many people's umask is 002, and nobody but the owner gets through the root.
    if status.st_mode & 0o002:
        raise DamagedFileError(
            f"{directory}: others may write to it; run `chmod go-w {directory}` and submit the job again"
        )
