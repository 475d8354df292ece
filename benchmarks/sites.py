"""The sites of one benchmark, one after the other, each with the environment and the database of its executor."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.databases import Databases
from benchmarks.executors import EXECUTORS
from benchmarks.measured_site import MeasuredSite, broker_for


class Sites:
    """Starts and stops sites; the databases stay until the end, so that their tables are made once."""

    def __init__(self, directory: Path, server: Databases, variables: Mapping[str, str]) -> None:
        """Prepare; everything is written under `directory`, and `variables` are for the DAG files."""
        self._directory = directory
        self._server = server
        self._variables = dict(variables)
        self._urls: dict[str, str] = {}

    @contextlib.contextmanager
    def site(self, key: str, name: str, dags_folder: Path, **options: Any) -> Iterator[MeasuredSite]:
        """Start an Airflow with one executor, and stop all of it.

        :param name: of its directory.
        :raises EnvironmentUnavailableError: the executor cannot be installed.
        """
        executor = EXECUTORS[key]
        executor.environment.install()
        is_migrated = key in self._urls
        # One database an executor: its tables may be those of its own provider.
        url = self._urls[key] if is_migrated else self._server.create(key)
        with broker_for(executor) as broker:
            site = MeasuredSite(
                self._directory / name,
                executor,
                dags_folder=dags_folder,
                database_url=url,
                is_migrated=is_migrated,
                variables=self._variables,
                broker=broker,
                **options,
            )
            with site:
                self._urls[key] = url
                yield site
