"""From kept journals to the database: what is new, in transactions that hold rows and position together."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections import deque
from typing import NamedTuple

import sqlalchemy as sa

from air_executor.core.events import AnyEvent, JobAccepted
from air_executor.errors import InvalidTransitionError
from air_executor.history import tables
from air_executor.history.database import Database
from air_executor.history.journals import START, JournalChangedError, JournalReader, Position
from air_executor.history.progress_curve import STEP_S, Counts, Point, ProgressCurve
from air_executor.history.rows import Row, Rows
from air_executor.history.run_record import RunRecord, label_rows
from air_executor.store.backlog import KeptJournal, kept_journals, root_id
from air_executor.store.root import Root

_log = logging.getLogger(__name__)

_MOST_ROWS = 5000
"""In one transaction, more or less: a lock that others wait for is never held for long."""
_MOST_ID = 200


class _Source(NamedTuple):
    """A journal under all its names in `history/`, and what is known of its end."""

    names: tuple[str, ...]
    job_name: str
    size_bytes: int
    inode: int
    is_gone: bool
    """Nobody else has a name for it, or a newer journal of the job took its place: nothing more will come."""


class Recorder:
    """Knows how far each journal is recorded. After an error it is to be thrown away: the database knows."""

    def __init__(self, root: Root, database: Database) -> None:
        """Read nothing yet.

        :raises OSError: the root's id could not be read or made.
        """
        self._root = root
        self._database = database
        self._root_id = root_id(root)
        self._runs: dict[int, tuple[JournalReader, RunRecord | None]] = {}
        """By inode; none yet where the first line is not whole."""

    def record(self) -> bool:
        """Record what is new; returns whether there may be more already.

        :raises HistoryError: the database cannot be reached, or refused.
        :raises OSError: the disk refused.
        """
        sources = self._sources()
        self._forget({source.inode for source in sources})
        due = deque(source for source in sources if self._has_news(source))
        has_made_room = False
        while due:
            rows, done = Rows(), []
            with self._database.begin() as connection:
                while due and len(rows) < _MOST_ROWS:
                    source = due.popleft()
                    if self._read(connection, source, rows):
                        done.append(source)
                    else:
                        # There is more of it.
                        due.append(source)
                rows.write(connection)
            for source in done:
                self._let_go(source)
            has_made_room = has_made_room or any(source.is_gone for source in done)
        # The job's next journal may have waited for this one.
        return has_made_room

    def waiting(self) -> int:
        """Return how many journals are kept, of jobs that run or are yet to be recorded."""
        return len(kept_journals(self._root))

    def _sources(self) -> list[_Source]:
        """Return the oldest journal of each job: a newer one goes on where it ends."""
        by_job: dict[str, dict[int, list[KeptJournal]]] = {}
        for kept in kept_journals(self._root):
            by_job.setdefault(kept.job_name, {}).setdefault(kept.inode, []).append(kept)
        sources = []
        for job_name, by_inode in by_job.items():
            inode, names = next(iter(by_inode.items()))
            newest = names[-1]
            is_gone = len(by_inode) > 1 or newest.links <= len(names)
            sources.append(
                _Source(tuple(each.name for each in names), job_name, newest.size_bytes, inode, is_gone=is_gone)
            )
        return sources

    def _has_news(self, source: _Source) -> bool:
        reader, _ = self._runs.get(source.inode, (None, None))
        return reader is None or source.is_gone or source.size_bytes != reader.position.size

    def _read(self, connection: sa.Connection, source: _Source, rows: Rows) -> bool:
        """Collect the rows of one journal; returns whether it was read to its end."""
        reader, run = self._runs.get(source.inode) or self._open(source)
        try:
            events = reader.read()
        except JournalChangedError:
            reader, run = self._open(source)
            events = reader.read()
        except FileNotFoundError:
            # Somebody removed it.
            return True
        is_at_end = not events
        if run is None and events:
            run = self._begin(connection, reader, events)
        self._runs[source.inode] = reader, run
        if run is None:
            return True
        for number, event in enumerate(events):
            try:
                run.note(event)
            except InvalidTransitionError as error:
                _log.error("job %s: event %d of what is new does not fit: %s", source.job_name, number + 1, error)
        if events and run.is_durable:
            reader.sync()
        run.take_rows(rows, _cursor(reader.position), is_gone=source.is_gone and is_at_end)
        return is_at_end

    def _open(self, source: _Source) -> tuple[JournalReader, RunRecord | None]:
        return JournalReader(str(self._root.history / source.names[0])), None

    def _begin(self, connection: sa.Connection, reader: JournalReader, events: list[AnyEvent]) -> RunRecord | None:
        """Find the run of a journal that was just opened, or add it; leaves in `events` what is not recorded of it."""
        accepted = events[0]
        if not isinstance(accepted, JobAccepted):
            # Nothing can be made of it; the manager refuses it too.
            return None
        found = self._find(connection, accepted)
        recorded = Position(found["journal"], found["journal_bytes"], found["journal_checksum"]) if found else START
        if found and recorded.journal == reader.position.journal:
            position = reader.position
            reader.position = START
            known = reader.read_to(recorded)
            if known is not None:
                run = self._resume(connection, found, accepted)
                run.replay(known[1:])
                events[:] = []
                return run
            # It was cut: what is recorded of its end was lost in a power cut. What is there now is another run.
            reader.position = position
        if found and accepted.is_snapshot:
            return self._resume(connection, found, accepted)
        generation = found["generation"] + 1 if found else 1
        run_id = self._add(connection, accepted, generation, reader.position)
        return RunRecord(run_id, accepted, is_first=generation == 1)

    def _find(self, connection: sa.Connection, accepted: JobAccepted) -> Row | None:
        jobs = tables.jobs
        newest = (
            sa.select(jobs)
            .where(jobs.c.root_id == self._root_id, jobs.c.job_id == accepted.id[:_MOST_ID])
            .where(jobs.c.created_at == accepted.created_at)
            .order_by(jobs.c.generation.desc())
            .limit(1)
        )
        found = connection.execute(newest).mappings().one_or_none()
        return dict(found) if found is not None else None

    def _resume(self, connection: sa.Connection, found: Row, accepted: JobAccepted) -> RunRecord:
        run = RunRecord(found["run_id"], accepted, is_first=found["generation"] == 1 or accepted.is_snapshot)
        progress = tables.progress
        points = connection.execute(
            sa.select(progress).where(progress.c.run_id == found["run_id"]).order_by(progress.c.point)
        )
        known = {
            row["point"]: Point(row["timestamp"], Counts(*(row[name] for name in Counts._fields)))
            for row in points.mappings()
        }
        curve = ProgressCurve(found["accepted_at"], found["progress_step_s"], known)
        run.resume(found["accepted_at"], found["started_at"], found["ended_at"], curve)
        return run

    def _add(self, connection: sa.Connection, accepted: JobAccepted, generation: int, position: Position) -> int:
        row = {
            "root_id": self._root_id,
            "host": socket.gethostname()[:255],
            "base_path": str(self._root.path),
            "job_id": accepted.id[:_MOST_ID],
            "job_name": accepted.name,
            "generation": generation,
            "state": "waiting",
            "created_at": accepted.created_at,
            "accepted_at": accepted.at,
            "updated_at": accepted.at,
            **dict.fromkeys(_COUNTS, 0),
            **_cursor(position),
            "progress_step_s": STEP_S,
        }
        run_id = connection.execute(sa.insert(tables.jobs).returning(tables.jobs.c.run_id), row).scalar_one()
        labels = label_rows(run_id, accepted)
        if labels:
            connection.execute(sa.insert(tables.labels), labels)
        return int(run_id)

    def _let_go(self, source: _Source) -> None:
        """Remove the names of a journal that is recorded whole, if nothing more will come."""
        _, run = self._runs.get(source.inode, (None, None))
        if source.is_gone or (run is not None and run.is_over):
            # A job that goes on after its end gets another name, so none is removed that was not seen before it was read.
            for name in source.names:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self._root.history / name)
            self._runs.pop(source.inode, None)

    def _forget(self, inodes: set[int]) -> None:
        """Forget journals whose names are gone: another one may get their inode."""
        for inode in self._runs.keys() - inodes:
            del self._runs[inode]


_COUNTS = tuple(name for name in (column.name for column in tables.jobs.c) if name.endswith("_tasks"))


def _cursor(position: Position) -> Row:
    return {
        "journal": position.journal,
        "journal_bytes": position.size,
        "journal_checksum": position.checksum,
    }
