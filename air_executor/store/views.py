"""state.json and tasks.json as the manager writes them: complete JSON, written aside, then renamed."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

import msgspec

from air_executor.core.events import ViewWritten
from air_executor.core.job import Job
from air_executor.store.files import create_file, exchange, sync_directory, temporary_name
from air_executor.store.journal import Journal
from air_executor.store.paths import store_path
from air_executor.store.records import StateRecord, TaskRecord, state_record, task_record
from air_executor.store.root import Root

_encoder = msgspec.json.Encoder()
_TASKS_SUFFIX = "tasks"
_LINES_PER_PIECE = 500


def encode_state(record: StateRecord) -> bytes:
    """Return state.json, indented for people."""
    return msgspec.json.format(_encoder.encode(record), indent=2) + b"\n"


def encode_tasks(records: Iterable[TaskRecord]) -> Iterator[bytes]:
    """Return tasks.json in pieces, one task a line: quick to write, and its differences can be read."""
    lines = map(_encoder.encode, records)
    opening = b"["
    # A view of very many tasks must never be in memory whole.
    while piece := list(itertools.islice(lines, _LINES_PER_PIECE)):
        yield opening + b"\n" + b",\n".join(piece)
        opening = b","
    yield b"[]\n" if opening == b"[" else b"\n]\n"


def write_views(root: Root, job: Job, journal: Journal) -> Path | None:
    """Replace both views of a job by what is so now.

    tasks.json goes first: whoever reads a terminal `state` in state.json finds the tasks of that state in tasks.json.
    It is swapped, not overwritten: if somebody put a file of their own there a moment ago, its new path is returned,
    and whoever has read it removes it.

    :raises OSError: the disk is full, read-only or broken; both views are whole, old or new.
    """
    directory = root.job(job.name)
    durable = job.options.durable and job.state.is_terminal
    tasks = root.tmp / temporary_name(f"{job.name}.{_TASKS_SUFFIX}")
    state = root.tmp / temporary_name(f"{job.name}.state")
    try:
        status = create_file(
            tasks, encode_tasks(task_record(job.name, task) for task in job.tasks.values()), durable=durable
        )
        written = [view_written(status, job.updated_at)]
        written.append(
            view_written(create_file(state, encode_state(state_record(job)), durable=durable), job.updated_at)
        )
        # Before the swap: a tasks.json that the journal does not know would be taken for somebody's own.
        for event in written:
            journal.add(event)
        journal.flush()
        for event in written:
            job.apply(event)
        replaced = _swap_in(tasks, directory / "tasks.json", job)
    except OSError:
        # Tried again and again, they would fill a disk that is full.
        for path in (tasks, state):
            path.unlink(missing_ok=True)
        raise
    try:
        os.rename(state, directory / "state.json")
        if durable:
            sync_directory(directory)
    except OSError:
        state.unlink(missing_ok=True)
        if replaced is not None:
            # Nobody has read it yet: it is found there at the next look.
            os.rename(replaced, directory / "tasks.json")
        raise
    return replaced


def _swap_in(new: Path, current: Path, job: Job) -> Path | None:
    try:
        exchange(new, current)
    except FileNotFoundError:
        os.rename(new, current)
        return None
    if view_identity(new) in job.view_identities:
        new.unlink()
        return None
    return new


def view_written(status: os.stat_result, at: datetime) -> ViewWritten:
    """Return the record of a view that is one of ours."""
    return ViewWritten(at=at, inode=status.st_ino, mtime_ns=status.st_mtime_ns)


def write_failed_state(root: Root, name: str, record: StateRecord) -> None:
    """Set a job aside whose files cannot be used: state.json says `failed` and why; what stood there is kept beside it.

    :raises OSError: the disk is full, read-only or broken.
    """
    directory = root.job(name)
    state = directory / "state.json"
    aside = root.tmp / temporary_name(f"{name}.state")
    create_file(aside, encode_state(record), durable=True)
    if os.path.lexists(state):
        os.replace(state, directory / "state.json.refused")
    os.rename(aside, state)


def view_identity(path: Path) -> tuple[int, int] | None:
    """Return (inode, mtime in ns) of a file, None if there is none."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns


def swapped_out(root: Root) -> list[tuple[str, Path]]:
    """Return job names and paths of tasks.json files in tmp/: ours in the making, or others' that ours replaced."""
    marker = f".{_TASKS_SUFFIX}."
    with os.scandir(root.tmp) as entries:
        return [(entry.name.rpartition(marker)[0], store_path(entry.path)) for entry in entries if marker in entry.name]


def find_stranger(root: Root, job: Job) -> Path | None:
    """Return the path of a job's tasks.json if somebody else put it there; by one `lstat`."""
    path = root.job(job.name) / "tasks.json"
    identity = view_identity(path)
    return path if identity is not None and identity not in job.view_identities else None
