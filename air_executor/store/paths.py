"""Paths of which nothing is kept when they are gone, for processes that run for months and name very many files."""

from __future__ import annotations

import os
import sys
from pathlib import Path, PosixPath


class StorePath(PosixPath):
    """A `Path`; so is what is made from it by `/` and `parent`.

    In Python 3.12 a `Path` interns each of its parts, and interned text is never freed there: a kilobyte for each job that
    was ever named. Before and after it, this changes nothing.
    """

    if sys.version_info[:2] == (3, 12):

        @classmethod
        def _parse_path(cls, path: str) -> tuple[str, str, list[str]]:
            # As Python's own, but for the interning.
            drive, root, relative = os.path.splitroot(path)
            return drive, root, [part for part in relative.split("/") if part and part != "."]


def store_path(path: str | os.PathLike[str]) -> Path:
    """Return a path of this kind where there are POSIX paths, else an ordinary one."""
    return StorePath(path) if os.name == "posix" else Path(path)
