"""Putting a job into the root: built aside, then renamed into place, so that it is there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import msgspec

from air_executor.core.graph import check_acyclic, check_order
from air_executor.core.names import is_plain_name
from air_executor.core.specs import JobSpec, check_job
from air_executor.core.states import JobState, TaskStatus
from air_executor.errors import InvalidNameError, JobExistsError, SubmissionError
from air_executor.store.files import create_file, sync_directory, temporary_name
from air_executor.store.records import StateRecord, TaskRecord, utc_now
from air_executor.store.root import Root
from air_executor.store.views import encode_state, encode_tasks


def submit_job(root: Root, spec: JobSpec, attachments: Mapping[str, bytes] | None = None) -> str:
    """Write a job and return its id. Any process may call this, also many at once.

    When this returns, the job is on disk; with `durable` it also survives a power cut.

    :param attachments: further files of the job's directory by name, mode 0600.
    :raises InvalidNameError: a name or an id is not allowed.
    :raises InvalidJobError: see `check_job` and `check_order`.
    :raises JobExistsError: there is a job of this name.
    :raises SubmissionError: it could not be written; nothing of it was kept.
    """
    check_job(spec)
    # Into an open job others may queue what is missing.
    (check_acyclic if spec.options.is_open else check_order)(spec.tasks)
    job_id = str(uuid.uuid4())
    target = root.job(spec.name)
    aside = root.tmp / temporary_name(spec.name)
    try:
        _build(aside, job_id, spec, attachments or {})
        if os.path.lexists(target):
            raise JobExistsError(f"a job named {spec.name} exists: choose another name, or remove {target} first")
        # A directory may be renamed over an empty one only, so that a job which is there is never replaced.
        os.rename(aside, target)
        if spec.options.durable:
            _make_names_durable(root.jobs, target, aside)
    except OSError as error:
        _discard(aside)
        if os.path.lexists(target) and error.errno in _NAME_TAKEN:
            raise JobExistsError(f"a job named {spec.name} exists: choose another name") from error
        raise SubmissionError(
            f"job {spec.name} was not submitted: {error.filename or root.path}: {error.strerror}"
        ) from error
    except BaseException:
        _discard(aside)
        raise
    return job_id


def _make_names_durable(jobs: Path, target: Path, aside: Path) -> None:
    # After the rename: the manager has seen it and reads the files while the disk works.
    try:
        sync_directory(target)
        sync_directory(jobs)
    except OSError:
        # Whoever is told that it was not submitted submits it again: it must not run as well.
        os.rename(target, aside)
        raise


_NAME_TAKEN = frozenset({17, 39, 20})  # EEXIST, ENOTEMPTY, ENOTDIR


def _build(aside: Path, job_id: str, spec: JobSpec, attachments: Mapping[str, bytes]) -> None:
    now = utc_now()
    durable = spec.options.durable
    os.mkdir(aside, 0o700)
    os.mkdir(aside / "logs", 0o700)
    for name, content in attachments.items():
        if not is_plain_name(name):
            raise InvalidNameError(f"attachment {name!r} is not allowed: use letters, digits and `_ . ~ : + -`")
        create_file(aside / name, content, durable=durable)
    create_file(aside / "tasks.json", encode_tasks(_task_records(spec, now)), durable=durable)
    create_file(aside / "state.json", encode_state(_state_record(job_id, spec, now)), durable=durable)


def _state_record(job_id: str, spec: JobSpec, now: datetime) -> StateRecord:
    return StateRecord(
        id=job_id,
        name=spec.name,
        state=JobState.WAITING,
        created_at=now,
        updated_at=now,
        tasks={"total": len(spec.tasks), TaskStatus.PENDING.value: len(spec.tasks)},
        options=spec.options,
        labels=spec.labels,
    )


def _task_records(spec: JobSpec, now: datetime) -> list[TaskRecord]:
    return [
        TaskRecord(
            **msgspec.structs.asdict(task),
            job_name=spec.name,
            status=TaskStatus.PENDING,
            created_at=now,
            started_at=None,
            completed_at=None,
            error=None,
        )
        for task in spec.tasks
    ]


def _discard(aside: Path) -> None:
    # What a kill leaves here is removed by the manager, once it is old.
    with contextlib.suppress(OSError):
        shutil.rmtree(aside)
