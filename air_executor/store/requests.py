"""What others ask of the manager: one file a request, renamed into `requests/`, removed once it is in a journal."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

import msgspec

from air_executor.core.names import is_plain_name
from air_executor.core.specs import TaskSpec
from air_executor.errors import InvalidJobError, SubmissionError
from air_executor.store.files import create_file, decode_json, read_bytes, sync_directory, temporary_name
from air_executor.store.root import Root


class Request(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="request"):
    """Base of all requests."""


class QueueTasks(Request, frozen=True, tag="queue"):
    """Add tasks to a job; those that it has already are left as they are."""

    job: str
    tasks: tuple[TaskSpec, ...]


class CancelJob(Request, frozen=True, tag="cancel"):
    """End a job and all that runs of it."""

    job: str
    reason: str = ""


class CloseJob(Request, frozen=True, tag="close"):
    """Let an open job finish."""

    job: str


class RetryTasks(Request, frozen=True, tag="retry"):
    """Run tasks again that ended without completing, also of a job that is over; None: all of them."""

    job: str
    tasks: tuple[str, ...] | None = None


class WarmUp(Request, frozen=True, tag="warm_up"):
    """Start the warm parent of an environment before its first task arrives."""

    environment: str


AnyRequest = QueueTasks | CancelJob | CloseJob | RetryTasks | WarmUp


def send_request(root: Root, request: Request, *, durable: bool = True) -> Path:
    """Put a request where the manager finds it, now or when one runs again; returns its path, for `await_reply`.

    :raises SubmissionError: it could not be written.
    """
    # Names sort by time, so that a job's requests are read in the order in which they were sent.
    name = temporary_name(f"{time.time_ns():020d}")
    aside = root.tmp / name
    try:
        create_file(aside, msgspec.json.encode(request), durable=durable)
        path = root.requests / f"{name}.json"
        os.rename(aside, path)
        if durable:
            sync_directory(root.requests)
        return path
    except OSError as error:
        with contextlib.suppress(OSError):
            aside.unlink()
        raise SubmissionError(
            f"the request was not written: {error.filename or root.path}: {error.strerror}"
        ) from error


def list_requests(root: Root) -> list[Path]:
    """Return the requests that wait, oldest first."""
    with os.scandir(root.requests) as entries:
        names = sorted(entry.name for entry in entries if entry.name.endswith(".json") and is_plain_name(entry.name))
    return [root.requests / name for name in names]


def read_request(path: Path) -> AnyRequest:
    """Return one request.

    :raises DamagedFileError: it is not a valid one.
    :raises FileNotFoundError: it is gone.
    """
    content, _ = read_bytes(path)
    request: AnyRequest = decode_json(content, AnyRequest, path)  # type: ignore[arg-type]  # a union is a type form
    return request


def refuse_request(path: Path, reason: str) -> None:
    """Replace a request that cannot be carried out by the reason, for its sender."""
    if path.is_dir():
        # Nobody who sends requests makes directories: there is no sender to tell.
        os.rename(path, path.parent.parent / "tmp" / temporary_name("refused"))
        return
    refusal = path.with_suffix(".refused")
    with contextlib.suppress(OSError):
        # A name so long that nothing can be added to it, or a full disk: then the sender sees only that it is gone.
        refusal.unlink(missing_ok=True)
        create_file(refusal, reason.encode("utf-8", "replace"), durable=False)
    path.unlink(missing_ok=True)


def await_reply(path: Path, timeout_s: float) -> bool:
    """Return True once the manager has carried a request out, False if it has not within `timeout_s` seconds.

    :raises InvalidJobError: the manager refused it; the message holds the reason.
    """
    deadline = time.monotonic() + timeout_s
    pause_s = 0.001
    while path.exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, 0.05)
    refusal = path.with_suffix(".refused")
    try:
        content, _ = read_bytes(refusal)
    except FileNotFoundError:
        return True
    refusal.unlink(missing_ok=True)
    raise InvalidJobError(content.decode("utf-8", "replace"))
