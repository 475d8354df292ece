"""Names of the jobs that carry Airflow workloads. A name is also the `external_executor_id` of its task instance."""

from __future__ import annotations

import hashlib
import secrets
import time

from air_executor.core.names import MAX_JOB_NAME_BYTES, make_safe

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_TIME_DIGITS = 9
"""Milliseconds since 1970 in base 36; nine digits last until the year 5188, so names sort by time."""
_RANDOM_DIGITS = 5
_UNIQUE_LENGTH = _TIME_DIGITS + _RANDOM_DIGITS
_IDENTITY_LENGTH = 12
_DIGEST_LENGTH = 6
_MAX_SUFFIX_BYTES = 8
"""The dot and the number of a successor."""
_MAX_PREFIX_BYTES = MAX_JOB_NAME_BYTES - 1 - _UNIQUE_LENGTH


def make_task_prefix(dag_id: str, task_id: str, run_id: str, map_index: int, try_number: int, ti_id: str) -> str:
    """Return what every job of this try of a task instance starts with; the same arguments give the same text.

    After a crash between the submission of a job and the commit of its name, adoption finds the job by this prefix.
    The last digits of the task instance's UUID tell apart ids that look alike once they are made safe and short.
    """
    mapped = f"-map{map_index}" if map_index >= 0 else ""
    end = f"{mapped}-try{try_number}-{_shorten_identity(ti_id)}"
    parts = [dag_id, task_id, run_id]
    room = _MAX_PREFIX_BYTES - len("airflow-") - len(end) - (len(parts) - 1)
    return "airflow-" + "-".join(_fit([make_safe(part, MAX_JOB_NAME_BYTES) for part in parts], room)) + end


def make_hand_over_name(dag_id: str, task_id: str, run_id: str, map_index: int) -> str:
    """Return the name of the job to which a task instance hands its work over; each of its tries gets the same.

    The digest tells apart ids that look alike once they are made safe, short, and joined.
    """
    digest = hashlib.sha256("\0".join((dag_id, task_id, run_id, str(map_index))).encode()).hexdigest()[:_DIGEST_LENGTH]
    end = f"{f'-map{map_index}' if map_index >= 0 else ''}-{digest}"
    parts = [make_safe(part, MAX_JOB_NAME_BYTES) for part in (dag_id, task_id, run_id)]
    room = MAX_JOB_NAME_BYTES - _MAX_SUFFIX_BYTES - len(end) - (len(parts) - 1)
    return "-".join(_fit(parts, room)) + end


def make_successor(name: str, number: int) -> str:
    """Return the name of the first, second, ... of the jobs that succeed each other under `name`."""
    return name if number == 1 else f"{name}.{number}"


def find_number(job_name: str, name: str) -> int | None:
    """Return which of the jobs under `name` has this name, counted as `make_successor` does; None for any other job."""
    if job_name == name:
        return 1
    suffix = job_name[len(name) :]
    digits = suffix[1:]
    if not job_name.startswith(name) or not digits.isdecimal() or len(suffix) > _MAX_SUFFIX_BYTES:
        return None
    number = int(digits)
    return number if number > 1 and job_name == make_successor(name, number) else None


def make_callback_prefix(callback_id: str) -> str:
    """Return what the job of an executor callback starts with."""
    return f"airflow-callback-{make_safe(callback_id, 60)}"


def make_connection_test_prefix(connection_test_id: str) -> str:
    """Return what the job of a connection test starts with."""
    return f"airflow-connection-test-{make_safe(connection_test_id, 60)}"


def make_unique(prefix: str) -> str:
    """Return a job name that starts with `prefix` and that nobody had before; later names sort after earlier ones."""
    at = _encode(int(time.time() * 1000), _TIME_DIGITS)
    return f"{prefix}-{at}{_encode(secrets.randbelow(36**_RANDOM_DIGITS), _RANDOM_DIGITS)}"


def split_name(job_name: str) -> tuple[str, str]:
    """Return prefix and unique end of a job name; the end is empty for a name that `make_unique` did not make."""
    prefix, _, unique = job_name.rpartition("-")
    if prefix and len(unique) == _UNIQUE_LENGTH and all(digit in _DIGITS for digit in unique):
        return prefix, unique
    return job_name, ""


def _shorten_identity(ti_id: str) -> str:
    # Airflow's ids are UUID version 7: they begin with the time, only their end is random.
    return make_safe(ti_id.replace("-", ""), MAX_JOB_NAME_BYTES)[-_IDENTITY_LENGTH:]


def _fit(parts: list[str], room: int) -> list[str]:
    fitted = list(parts)
    while sum(map(len, fitted)) > room:
        longest = max(range(len(fitted)), key=lambda index: len(fitted[index]))
        excess = sum(map(len, fitted)) - room
        others = sorted((len(part) for index, part in enumerate(fitted) if index != longest), reverse=True)
        # Never below the next longest, so that no part is cut to nothing while another keeps its full length.
        kept = max(len(fitted[longest]) - excess, min(others[0], len(fitted[longest]) - 1))
        fitted[longest] = fitted[longest][:kept]
    return fitted


def _encode(number: int, digits: int) -> str:
    encoded = ""
    for _ in range(digits):
        number, digit = divmod(number, 36)
        encoded = _DIGITS[digit] + encoded
    return encoded
