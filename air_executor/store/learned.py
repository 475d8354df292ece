"""The files of learned preload: `preload/<environment>/`. Each has one writer: a task its report, a generation its record, the manager `learned.json`."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from air_executor.core.names import is_plain_name
from air_executor.core.preload import Learned, Line, Report, TemplateNote
from air_executor.errors import DamagedFileError
from air_executor.store.files import create_file, decode_json, read_bytes, temporary_name, write_all
from air_executor.store.paths import store_path
from air_executor.store.root import Root

MOST_REPORT_BYTES = 512 * 1024
_MOST_RECORD_BYTES = 16 * 1024 * 1024
_MOST_LEARNED_BYTES = 32 * 1024 * 1024
_STALE_S = 3600.0
_TEMPLATES = ".templates.json"
_UNFINISHED = "."
"""Reports in the making begin with it."""
_LINES = msgspec.json.Decoder(Line)


class LearnedFiles:
    """The files of one environment. Touches nothing until a method is called."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.learned = directory / "learned.json"
        self.reports = directory / "reports"
        self.records = directory / "generations"
        self._has_spoken = False

    def create(self) -> None:
        """Make the directories, mode 0700.

        :raises OSError: one could not be made.
        """
        self.directory.parent.mkdir(mode=0o700, exist_ok=True)
        for directory in (self.directory, self.reports, self.records):
            directory.mkdir(mode=0o700, exist_ok=True)

    def record(self, generation: str) -> Path:
        """Return the file of a generation's record."""
        return self.records / f"{generation}.jsonl"

    def stamps(self, generation: str) -> Path:
        """Return the file in which a generation says what it was made from."""
        return self.records / f"{generation}.stamps.json"

    def read(self) -> Learned | None:
        """Return what was learned; None where there is nothing, or nothing that can be read."""
        try:
            content, _ = read_bytes(self.learned, _MOST_LEARNED_BYTES)
            return decode_json(content, Learned, self.learned)
        except (OSError, DamagedFileError):
            # It is learned anew: nothing depends on it but speed.
            return None

    def write(self, learned: Learned) -> None:
        """Replace what was learned; for the manager alone.

        :raises OSError: it could not be written.
        """
        aside = self.directory / temporary_name(_UNFINISHED + "learned")
        create_file(aside, msgspec.json.encode(learned), durable=False)
        os.replace(aside, self.learned)

    def write_templates(self, generation: str, notes: list[TemplateNote]) -> None:
        """Replace what a generation says of its templates, and remove what earlier ones said.

        A generation whose own was removed has a successor, and says nothing more.

        :raises OSError: it could not be written.
        """
        own = self.records / f"{generation}{_TEMPLATES}"
        if self._has_spoken and not own.exists():
            return
        self._has_spoken = True
        aside = self.records / temporary_name(_UNFINISHED + "templates")
        create_file(aside, msgspec.json.encode(notes), durable=False)
        os.replace(aside, own)
        for path in self._list_templates():
            if path != own:
                path.unlink(missing_ok=True)

    def read_templates(self) -> list[TemplateNote]:
        """Return what the generation that spoke last says of its templates."""
        for path in self._list_templates():
            with contextlib.suppress(OSError, DamagedFileError):
                content, _ = read_bytes(path, _MOST_LEARNED_BYTES)
                return decode_json(content, list[TemplateNote], path)
        return []

    def _list_templates(self) -> list[Path]:
        with contextlib.suppress(OSError):
            found = [path for path in self.records.iterdir() if path.name.endswith(_TEMPLATES)]
            return sorted(found, key=lambda path: path.stat().st_mtime_ns, reverse=True)
        return []

    def add_report(self, report: Report) -> None:
        """Leave a report for the manager; for the process of a task.

        :raises OSError: it could not be written.
        """
        content = msgspec.json.encode(report)
        if len(content) > MOST_REPORT_BYTES:
            return
        name = f"{secrets.token_hex(8)}.json"
        aside = self.reports / f"{_UNFINISHED}{name}"
        create_file(aside, content, durable=False)
        os.rename(aside, self.reports / name)

    def take_reports(self, most: int = 500) -> list[Report]:
        """Read and remove the reports that are there, up to `most`; what cannot be read is removed as well."""
        reports = []
        for path in self._list_reports(most):
            with contextlib.suppress(OSError, DamagedFileError):
                content, _ = read_bytes(path, MOST_REPORT_BYTES)
                reports.append(decode_json(content, Report, path))
            with contextlib.suppress(OSError):
                path.unlink()
        return reports

    def has_reports(self) -> bool:
        """Claim that tasks have left reports which the manager has not read."""
        return bool(self._list_reports(1))

    def _list_reports(self, most: int) -> list[Path]:
        found: list[Path] = []
        with contextlib.suppress(OSError), os.scandir(self.reports) as entries:
            for entry in entries:
                if len(found) >= most:
                    break
                if entry.is_dir(follow_symlinks=False):
                    continue
                # A process that was killed while it wrote leaves an unfinished one.
                if not entry.name.startswith(_UNFINISHED) or _is_stale(entry):
                    found.append(store_path(entry.path))
        return found

    def read_record(self, generation: str) -> list[Line]:
        """Return the whole lines of a generation's record; what follows a damaged one is left out."""
        lines: list[Line] = []
        with contextlib.suppress(OSError, DamagedFileError, msgspec.MsgspecError, RecursionError):
            content, _ = read_bytes(self.record(generation), _MOST_RECORD_BYTES)
            for text in content[: content.rfind(b"\n") + 1].splitlines():
                lines.append(_LINES.decode(text))  # noqa: PERF401 # what was read before a damaged line counts
        return lines

    def discard_record(self, generation: str) -> None:
        """Remove what a generation that is gone has left."""
        for path in (self.record(generation), self.stamps(generation)):
            with contextlib.suppress(OSError):
                path.unlink()

    def discard_old_records(self, age_s: float) -> None:
        """Remove the records that were last written to `age_s` seconds ago."""
        with contextlib.suppress(OSError), os.scandir(self.records) as entries:
            for entry in entries:
                if time.time() - entry.stat(follow_symlinks=False).st_mtime > age_s:
                    os.unlink(entry.path)

    def forget(self) -> None:
        """Remove what was learned and reported; the manager then renews the warm parent, and learning starts anew.

        :raises OSError: something could not be removed.
        """
        self.learned.unlink(missing_ok=True)
        for path in self._list_templates():
            path.unlink(missing_ok=True)
        for path in self._list_reports(10**6):
            path.unlink(missing_ok=True)


class RecordWriter:
    """Writes a generation's record, line by line, each at once: it has to say what ended this process."""

    def __init__(self, path: Path) -> None:
        """Create the file.

        :raises OSError: it exists, or could not be made.
        """
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)

    def write(self, line: Line) -> None:
        """Append a line.

        :raises OSError: the disk refused it.
        """
        write_all(self._descriptor, msgspec.json.encode(line) + b"\n")

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def files_of(root: Root, environment: str) -> LearnedFiles:
    """Return the files of an environment, which is named by its digest."""
    return LearnedFiles(root.path / "preload" / environment)


def list_learned(root: Root) -> Iterator[tuple[str, LearnedFiles]]:
    """Yield digest and files of each environment that has any, the one used last first."""
    try:
        with os.scandir(root.path / "preload") as entries:
            found = [(entry.stat(follow_symlinks=False).st_mtime, entry.name) for entry in entries]
    except OSError:
        return
    for _, name in sorted(found, reverse=True):
        if is_plain_name(name):
            yield name, files_of(root, name)


def _is_stale(entry: os.DirEntry[str]) -> bool:
    try:
        return time.time() - entry.stat(follow_symlinks=False).st_mtime > _STALE_S
    except OSError:
        return False
