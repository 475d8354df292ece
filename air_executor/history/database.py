"""The database of the history: how it is opened, and what its errors say. No message ever holds a password."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.engine.url import URL
from sqlalchemy.exc import SQLAlchemyError

from air_executor.errors import HistoryError

if TYPE_CHECKING:
    from air_executor.store.root import Root

_LOCK_WAIT_S = 30.0
_CONNECT_TIMEOUT_S = 10
_POSTGRES = "postgresql"
_POSTGRES_DRIVERS = {"psycopg2": "psycopg2", "psycopg": "psycopg"}
"""Names of drivers, and the module that each needs."""


class Database:
    """One history. Connections are opened when they are needed."""

    def __init__(self, root: Root, url: str | None, *, read_only: bool = False) -> None:
        """Check the address; connect to nothing yet.

        :param url: a SQLAlchemy URL of SQLite or PostgreSQL; None means the SQLite file in the root.
        :param read_only: refuse to change anything; the database has to exist.
        :raises HistoryError: the URL is not valid, names another kind of database, or its driver is not installed.
        """
        self._url = _parse_url(root, url)
        self._read_only = read_only
        self._engine: sa.Engine | None = None
        self._written: os.stat_result | None = None
        """The file of SQLite that changes go to."""

    @property
    def shown(self) -> str:
        """Return the address without its password."""
        return self._url.render_as_string(hide_password=True)

    @contextlib.contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """Return a connection in a transaction, which is committed at the end and undone by an error.

        :raises HistoryError: the database cannot be reached, or refused; nothing of the transaction counts.
        """
        try:
            if self._engine is None:
                self._engine = self._make_engine()
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise HistoryError(f"{self.shown}: {_cause(error)}") from error
        self._check_file()

    def close(self) -> None:
        """Close all connections."""
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    def _check_file(self) -> None:
        """See that what was written is where others look for it: a file that was deleted takes changes as before."""
        if self._written is None:
            return
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.stat(str(self._url.database)), self._written):
                return
        raise HistoryError(f"{self.shown}: was removed or replaced while it was in use; what it held is lost")

    def _make_engine(self) -> sa.Engine:
        if self._url.get_backend_name() == _POSTGRES:
            options = {"connect_timeout": _CONNECT_TIMEOUT_S, "application_name": "air-executor history"}
            engine = sa.create_engine(self._url, connect_args=options, pool_pre_ping=True, hide_parameters=True)
            if self._read_only:
                engine = engine.execution_options(postgresql_readonly=True)
            return engine
        if self._read_only and not Path(self._url.database or "").exists():
            raise HistoryError(
                f"{self.shown}: does not exist, so nothing is recorded; switch the history on with "
                '`"history": true` in settings.json, or start the manager with --history'
            )
        engine = _make_sqlite_engine(self._url, read_only=self._read_only)
        # Before the first connection opens it: a file that takes its place meanwhile is found out, not missed.
        self._written = None if self._read_only else os.stat(str(self._url.database))
        return engine


def _make_sqlite_engine(url: URL, *, read_only: bool) -> sa.Engine:
    path = Path(url.database or "")
    if not read_only:
        # Before SQLite makes it with another mode. Names beside it, as -wal, get the mode of this one.
        with contextlib.suppress(FileExistsError):
            try:
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
            except FileExistsError:
                raise
            except OSError as error:
                raise HistoryError(f"{path}: cannot be made: {error.strerror}") from error
    engine = sa.create_engine(url, connect_args={"timeout": _LOCK_WAIT_S}, hide_parameters=True)

    def prepare(connection: Any, _: Any) -> None:
        # Transactions are begun below, not by the driver, which would leave changes of tables out of them.
        connection.isolation_level = None
        cursor = connection.cursor()
        if read_only:
            cursor.execute("PRAGMA query_only = ON")
        else:
            # Readers do not wait for the writer, nor it for them.
            cursor.execute("PRAGMA journal_mode = WAL")
            # A journal's second name is removed after the commit, so that must survive a power cut.
            cursor.execute("PRAGMA synchronous = FULL")
            cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()

    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    sa.event.listen(engine, "connect", prepare)
    sa.event.listen(engine, "begin", begin)
    return engine


def _parse_url(root: Root, url: str | None) -> URL:
    if url is None:
        return URL.create("sqlite", database=str(root.history_database))
    try:
        parsed = sa.make_url(url.replace("postgres://", "postgresql://", 1))
        backend = parsed.get_backend_name()
    except Exception:
        # What is wrong with it may be a part of the password.
        raise HistoryError(
            "the URL of the history is not valid: write sqlite:////path/history.db or postgresql://user:password@host/database, "
            "with special characters of the password percent-encoded"
        ) from None
    if "@" in (parsed.host or ""):
        raise HistoryError("the URL of the history has an @ in its password: write %40 for it")
    if backend == "sqlite":
        if parsed.database in (None, "", ":memory:"):
            raise HistoryError("the URL of the history names no file: write sqlite:////path/history.db")
        return parsed
    if backend != _POSTGRES:
        raise HistoryError(f"the history cannot be kept in {backend}: use SQLite or PostgreSQL")
    return _with_driver(parsed)


def _with_driver(url: URL) -> URL:
    asked = url.drivername.partition("+")[2]
    # The default is not the same in all versions of SQLAlchemy; a driver for asyncio cannot be used here.
    for driver in (asked, *_POSTGRES_DRIVERS):
        if driver in _POSTGRES_DRIVERS and find_spec(_POSTGRES_DRIVERS[driver]) is not None:
            return url.set(drivername=f"{_POSTGRES}+{driver}")
    raise HistoryError("PostgreSQL needs a driver: run `pip install 'air-executor[history,postgres]'`")


def _cause(error: SQLAlchemyError) -> str:
    """Return in a line what the driver says: without the statement, which is of no help to people."""
    words = str(getattr(error, "orig", None) or error).strip()
    return " ".join(words.split())[:500] or type(error).__name__
