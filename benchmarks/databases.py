"""The PostgreSQL server that all measured sites use: one of our own, or the one behind a URL."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import psycopg2
from psycopg2 import sql

from tests.support.postgres import PostgresServer


class Databases:
    """Creates databases on one server and drops them at the end."""

    def __init__(self, url: str) -> None:
        """Prepare; `url` is a database of a role that may create others."""
        self._url = url
        self._created: list[str] = []

    def create(self, name: str) -> str:
        """Make an empty database, dropping an older one of that name, and return its SQLAlchemy URL."""
        name = f"air_bench_{name}"
        self._execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)
        self._execute("CREATE DATABASE {}", name)
        self._created.append(name)
        base, _, query = self._url.partition("?")
        return f"{base.rpartition('/')[0]}/{name}" + (f"?{query}" if query else "")

    def drop_all(self) -> None:
        """Drop what `create` made."""
        while self._created:
            self._execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", self._created.pop())

    def _execute(self, statement: str, name: str) -> None:
        connection = psycopg2.connect(self._url.replace("postgresql+psycopg2://", "postgresql://"), connect_timeout=10)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(sql.SQL(statement).format(sql.Identifier(name)))
        finally:
            connection.close()


@contextlib.contextmanager
def databases(url: str | None) -> Iterator[Databases]:
    """Give the server behind `url`, or start one.

    :raises FileNotFoundError: there is no URL, and PostgreSQL's server programs are not installed.
    """
    if url is None:
        with PostgresServer() as server:
            yield Databases(server.url("postgres"))
        return
    made = Databases(url)
    try:
        yield made
    finally:
        made.drop_all()
