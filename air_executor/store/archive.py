"""Where finished jobs go: out of jobs/, so that looking there stays quick, into `archive/` or away."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from air_executor.core.names import check_job_name
from air_executor.store.files import temporary_name
from air_executor.store.paths import store_path
from air_executor.store.root import Root

T = TypeVar("T")

_OLD_S = 3600.0


def archive_job(root: Root, name: str) -> None:
    """Move a finished job to `archive/`; one of the same name that lies there is removed.

    :raises OSError: it could not be moved.
    """
    target = root.archived_job(name)
    if os.path.lexists(target):
        _move_away(root, target)
    # What happened is told by its tasks.json; the journal is for going on.
    for leftover in ("journal", "journal.replaced"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(root.job(name) / leftover)
    os.rename(root.job(name), target)


def restore_job(root: Root, name: str) -> None:
    """Move a job back from `archive/` to jobs/, unless one of its name lies there.

    :raises OSError: it could not be moved, or there is none.
    """
    if not os.path.lexists(root.job(name)):
        os.rename(root.archived_job(name), root.job(name))


def remove_job(root: Root, name: str) -> None:
    """Remove a finished job, wherever it lies; for whoever lists jobs/ it is gone at once.

    :raises OSError: it could not be moved.
    """
    for path in (root.job(name), root.archived_job(name)):
        if os.path.lexists(path):
            _move_away(root, path)


def remove_leftovers(root: Root) -> None:
    """Remove what kills left in tmp/, and refusals that nobody came for."""
    for directory, suffix in ((root.tmp, ""), (root.requests, ".refused")):
        with os.scandir(directory) as entries:
            old = [store_path(entry.path) for entry in entries if entry.name.endswith(suffix) and _is_old(entry)]
        for path in old:
            _remove(path)


def find_job(root: Root, name: str) -> Path:
    """Return the directory of a job in jobs/ or, if there is none, the place where it lies in `archive/`."""
    path = root.jobs / check_job_name(name)
    return path if os.path.lexists(path) else root.archived_job(name)


def look_in_job(root: Root, name: str, look: Callable[[Path], T]) -> T:
    """Return what `look` makes of the directory of a job, also of one that moves just now.

    :raises FileNotFoundError: there is no such job, or `look` does not find in it what it looks for.
    """
    try:
        return look(find_job(root, name))
    except FileNotFoundError:
        # To the archive or back, between the moment when it was found and the one when it was read.
        return look(find_job(root, name))


def _is_old(entry: os.DirEntry[str]) -> bool:
    try:
        return time.time() - entry.stat(follow_symlinks=False).st_mtime > _OLD_S
    except FileNotFoundError:
        return False


def _move_away(root: Root, path: Path) -> None:
    aside = root.tmp / temporary_name("removed")
    os.rename(path, aside)
    _remove(aside)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    # What cannot be removed now is tried again later.
    with contextlib.suppress(OSError):
        path.unlink()
