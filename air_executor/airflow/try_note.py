"""A note in a job's directory: which try of its task instance took its results, or had it cancelled."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from air_executor.errors import DamagedFileError
from air_executor.store.files import create_file, decode_json, read_bytes, temporary_name

_FILE = "airflow-try.json"
_MAX_BYTES = 4096


class TryNote(msgspec.Struct, frozen=True, kw_only=True):
    """What the last try did that did something about the job's end."""

    try_number: int
    max_tries: int
    was_cancelled: bool = False
    """It cancelled the job. Otherwise the job completed, and it took the results."""


def write_note(job_path: Path, note: TryNote) -> None:
    """Replace the note of a job.

    :raises OSError: it could not be written.
    """
    aside = job_path / temporary_name(f".{_FILE}")
    create_file(aside, msgspec.json.encode(note), durable=False)
    os.replace(aside, job_path / _FILE)


def read_note(job_path: Path) -> TryNote | None:
    """Return the note of a job, None if there is none that can be read."""
    path = job_path / _FILE
    try:
        return decode_json(read_bytes(path, _MAX_BYTES)[0], TryNote, path)
    except (FileNotFoundError, DamagedFileError):
        return None


def remove_note(job_path: Path) -> None:
    """Forget what an earlier try did; idempotent."""
    (job_path / _FILE).unlink(missing_ok=True)
