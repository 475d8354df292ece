"""Journals that are yet to be recorded in the history: a second name (hard link) of each in `history/`.

It keeps a journal readable whatever becomes of its job's directory: archived, removed, or its journal replaced by another.
"""

from __future__ import annotations

import os
import secrets
import time
from typing import NamedTuple

from air_executor.core.names import is_plain_name
from air_executor.store.files import sync_directory
from air_executor.store.root import Root

_SEPARATOR = "@"
_DIGITS = 16
_ID_FILE = "root-id"


class KeptJournal(NamedTuple):
    """One name in `history/`."""

    name: str
    job_name: str
    size_bytes: int
    inode: int
    links: int
    """Names that the file has, here and elsewhere."""


class Backlog:
    """Gives journals their second names. One manager does so; the lock of the root sees to that."""

    def __init__(self, root: Root) -> None:
        """Make the directory if it is missing.

        :raises RootError: it cannot be trusted.
        :raises OSError: it could not be made or read.
        """
        self._root = root
        root.make_history()
        # Names sort by age, also after the clock was set back.
        self._last = max((int(each.name[:_DIGITS], 16) for each in kept_journals(root)), default=0)

    def keep(self, job_name: str, *, durable: bool) -> bool:
        """Give the journal of a job another name, of its own each time; False if there is no journal yet.

        :raises OSError: it could not be given.
        """
        self._last = max(self._last + 1, time.time_ns())
        try:
            os.link(
                self._root.job(job_name) / "journal",
                self._root.history / f"{self._last:0{_DIGITS}x}{_SEPARATOR}{job_name}",
                follow_symlinks=False,
            )
        except FileNotFoundError:
            if self._root.history.is_dir():
                return False
            self._root.make_history()
            return self.keep(job_name, durable=durable)
        if durable:
            # The end of the job must not survive a power cut that takes this name.
            sync_directory(self._root.history)
        return True


def kept_journals(root: Root) -> list[KeptJournal]:
    """Return the journals that are yet to be recorded, oldest first; none if no history was ever wanted."""
    found = []
    try:
        with os.scandir(root.history) as entries:
            for entry in entries:
                digits, _, job_name = entry.name.partition(_SEPARATOR)
                if len(digits) == _DIGITS and _is_hexadecimal(digits) and is_plain_name(job_name):
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                    found.append(KeptJournal(entry.name, job_name, status.st_size, status.st_ino, status.st_nlink))
    except FileNotFoundError:
        return []
    return sorted(found)


def drop_oldest(root: Root, *, most: int, most_bytes: int) -> int:
    """Remove the second names of the oldest journals beyond a number or a size, and return how many: they are not recorded.

    :raises OSError: one could not be removed.
    """
    kept = kept_journals(root)
    excess, excess_bytes, dropped = len(kept) - most, sum(each.size_bytes for each in kept) - most_bytes, 0
    while dropped < excess or excess_bytes > 0:
        (root.history / kept[dropped].name).unlink(missing_ok=True)
        excess_bytes -= kept[dropped].size_bytes
        dropped += 1
    return dropped


def root_id(root: Root) -> str:
    """Return what tells this root from others in a database that several share, wherever it is moved; made at the first call.

    :raises OSError: it could not be read or written.
    """
    path = root.history / _ID_FILE
    try:
        return path.read_text(encoding="ascii").strip()[:32] or "root"
    except FileNotFoundError:
        root.make_history()
    aside = root.history / f"{_ID_FILE}.{secrets.token_hex(6)}"
    with open(
        os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "w", encoding="ascii"
    ) as file:
        file.write(f"{secrets.token_hex(16)}\n")
    try:
        # Whole, or not at all; of two that do this at once the first one wins.
        os.link(aside, path)
    except FileExistsError:
        pass
    finally:
        aside.unlink()
    return root_id(root)


def _is_hexadecimal(text: str) -> bool:
    return all(char in "0123456789abcdef" for char in text)
