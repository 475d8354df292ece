"""Which names a job and a task may have. Everything that becomes part of a path passes through here."""

from __future__ import annotations

import re

from air_executor.errors import InvalidNameError

MAX_JOB_NAME_BYTES = 200
MAX_TASK_ID_BYTES = 200

_ALLOWED = re.compile(r"[A-Za-z0-9_.~:+-]+")
_ONLY_DOTS = re.compile(r"\.+")
_FORBIDDEN = re.compile(r"[^A-Za-z0-9_.~:+-]+")
_RULE = "use letters, digits and `_ . ~ : + -`, at most {limit} bytes, not only dots"


def check_job_name(name: str) -> str:
    """Return `name` if a job may have it.

    :raises InvalidNameError: with the rule in the message.
    """
    return _check("job name", name, MAX_JOB_NAME_BYTES)


def check_task_id(task_id: str) -> str:
    """Return `task_id` if it is non-empty, printable and short; it may hold any character but controls.

    Task ids such as `process-customers/a b.csv` are allowed: a log's file name is made from them by `file_stem`.

    :raises InvalidNameError: with the rule in the message.
    """
    if not task_id or not task_id.isprintable() or len(task_id.encode("utf-8", "surrogatepass")) > MAX_TASK_ID_BYTES:
        raise InvalidNameError(
            f"task id {task_id[:60]!r} is not allowed: use 1 to {MAX_TASK_ID_BYTES} bytes of printable characters"
        )
    return task_id


def is_plain_name(name: str) -> bool:
    """Tell whether `name` can stand in a path as it is."""
    return _ALLOWED.fullmatch(name) is not None and _ONLY_DOTS.fullmatch(name) is None


def make_safe(text: str, limit: int) -> str:
    """Replace what a job name may not hold by `-` and cut to `limit` bytes; the result may be empty."""
    return _FORBIDDEN.sub("-", text)[:limit]


def _check(what: str, name: str, limit: int) -> str:
    if not is_plain_name(name) or len(name) > limit:
        raise InvalidNameError(f"{what} {name[:60]!r} is not allowed: {_RULE.format(limit=limit)}")
    return name
