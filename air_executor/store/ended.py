"""Marks of jobs that ended, for whoever waits for them: an empty file `ended/<job>` each."""

from __future__ import annotations

import os

from air_executor.core.names import check_job_name, is_plain_name
from air_executor.store.root import Root


def mark_ended(root: Root, name: str) -> None:
    """Announce that a job has ended; its state.json says so already."""
    os.close(os.open(root.ended / check_job_name(name), os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))


def ended_names(root: Root) -> list[str]:
    """Return the names of announced jobs, unsorted; costs by their number only."""
    with os.scandir(root.ended) as entries:
        return [entry.name for entry in entries if is_plain_name(entry.name)]


def forget_ended(root: Root, name: str) -> None:
    """Remove a mark, if it is there."""
    (root.ended / check_job_name(name)).unlink(missing_ok=True)
