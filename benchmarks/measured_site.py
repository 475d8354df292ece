"""One Airflow with one executor, on PostgreSQL, with the settings that all executors are measured with."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.executors import PARALLELISM, Executor
from benchmarks.processes import SiteProcesses
from benchmarks.redis_broker import redis_broker
from tests.support.airflow_site import AirflowSite, Config
from tests.support.waiting import wait_until

_COMMON: dict[str, dict[str, str]] = {
    "core": {"parallelism": str(PARALLELISM)},
    # Parsing the DAG files again and again is not what is measured.
    "dag_processor": {"min_file_process_interval": "3600", "refresh_interval": "600", "parsing_processes": "2"},
    # With the default of 15 connections, 32 tasks that start at once can block each other in the API server for 30 s.
    "database": {"sql_alchemy_pool_size": "40", "sql_alchemy_max_overflow": "20"},
    # A slow answer is to be seen as slowness, not as a failed task.
    "workers": {"execution_api_timeout": "60"},
}


@dataclass(frozen=True)
class Sizes:
    """How much work there is."""

    width: int = 100
    length: int = 20
    heavy: int = 40
    steps: int = 5
    singles: int = 10

    def variables(self) -> dict[str, str]:
        """Return what the DAG files read."""
        return {
            "AIR_BENCH_WIDTH": str(self.width),
            "AIR_BENCH_LENGTH": str(self.length),
            "AIR_BENCH_HEAVY": str(self.heavy),
            "AIR_BENCH_STEPS": str(self.steps),
            "AIR_BENCH_STANDING": str(PARALLELISM),
        }


class MeasuredSite(AirflowSite):
    """A site whose scheduler, and worker, are of one executor."""

    def __init__(
        self,
        directory: Path,
        executor: Executor,
        *,
        dags_folder: Path,
        database_url: str,
        is_migrated: bool,
        variables: dict[str, str],
        broker: tuple[str, int] | None,
        config: Config | None = None,
        components: tuple[str, ...] = ("api-server", "dag-processor", "scheduler"),
    ) -> None:
        """Prepare; `broker` is the URL and process id of Redis."""
        self.gate = directory.resolve() / "gate"
        super().__init__(
            directory,
            executor=executor.setting,
            dags_folder=dags_folder,
            database_url=database_url,
            environment={**variables, "AIR_BENCH_GATE": str(self.gate)},
            components=components,
            python=executor.environment.python,
            is_migrated=is_migrated,
        )
        self.measured = executor
        self.processes_by_role = SiteProcesses(self, executor, [broker[1]] if broker else [])
        # Only now is the port known, which some settings name.
        places = {"url": self.url, "broker": broker[0] if broker else ""}
        filled = {
            section: {name: value.format(**places) for name, value in options.items()}
            for section, options in executor.settings.items()
        }
        self._config = _merge(_COMMON, filled, config or {})

    def __enter__(self) -> MeasuredSite:
        super().__enter__()
        try:
            if self.measured.worker:
                self.start("worker", *self.measured.worker)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop everything, the worker while it can still say goodbye."""
        if "worker" in self._processes:
            self.end("worker", signal.SIGTERM, grace_s=10)
        super().stop()

    def held_slots(self) -> int:
        """Return how many tasks the executor says that it runs; the scheduler writes it when it gets SIGUSR2."""
        pattern = re.compile(r"executor\.running \((\d+)\)")
        before = len(pattern.findall(self.log_text("scheduler")))
        os.kill(self.pid("scheduler"), signal.SIGUSR2)
        found: list[str] = wait_until(
            lambda: pattern.findall(self.log_text("scheduler")),
            lambda seen: len(seen) > before,
            timeout_s=30,
            interval_s=0.1,
            what="the scheduler's answer to SIGUSR2",
        )
        return int(found[-1])


@contextlib.contextmanager
def broker_for(executor: Executor) -> Iterator[tuple[str, int] | None]:
    """Run what the executor needs beside Airflow."""
    if not executor.needs_redis:
        yield None
        return
    with redis_broker(executor.environment.program("redis-server")) as broker:
        yield broker


def _merge(*configs: Config) -> Config:
    merged: dict[str, dict[str, str]] = {}
    for config in configs:
        for section, options in config.items():
            merged.setdefault(section, {}).update(options)
    return merged
