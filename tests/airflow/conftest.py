"""One real Airflow for all of these tests, per database.

`AIR_TEST_DATABASES=sqlite` leaves PostgreSQL out; `AIR_TEST_EXECUTOR=LocalExecutor` checks the tests themselves against
Airflow's own executor (what only Air-Executor promises is then skipped).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

pytest.importorskip("airflow", reason="these tests need the extra `airflow`")

from tests.support.airflow_api import AirflowApi
from tests.support.airflow_site import AIR_EXECUTOR, AirflowSite
from tests.support.ledger import Ledger
from tests.support.postgres import PostgresServer, find_server_programs
from tests.support.statsd import StatsdListener
from tests.support.waiting import wait_until

HERE = Path(__file__).parent
EXECUTOR = os.environ.get("AIR_TEST_EXECUTOR", AIR_EXECUTOR)

CANARY = "canary-7be1d02fa95c4c3e"
"""A secret in the environment of the scheduler, and so of tasks."""

CONFIG = {
    # With the default of 15 connections, tasks that start at once can block each other in the API server for 30 s.
    "database": {"sql_alchemy_pool_size": "40", "sql_alchemy_max_overflow": "20"},
    "core": {
        "plugins_folder": str(HERE / "plugins"),
        "parallelism": "16",
        # The last of them has no role, and so no permission.
        "simple_auth_manager_users": "admin:admin,viewer:viewer,nobody:",
    },
    # What a dead scheduler left is looked for every few seconds, not every five minutes.
    "scheduler": {"orphaned_tasks_check_interval": "5", "scheduler_health_check_threshold": "15"},
    # A missing DAG file is looked for again after a second, not a minute; a busy machine may answer slowly.
    "workers": {"missing_dag_retry_delay": "1", "execution_api_timeout": "60"},
}


@dataclass
class Stage:
    """A running Airflow, and what a test does with it."""

    site: AirflowSite
    database: str
    ledger: Ledger
    releases: Path
    statsd: StatsdListener
    """What Airflow's metrics are sent to."""
    runs: dict[str, str] = field(default_factory=dict)
    """Run id by DAG id, of the DAGs that were all started at once."""

    @property
    def api(self) -> AirflowApi:
        return self.site.api

    def release(self, run_id: str) -> None:
        """Let the tasks of a run that hold go on."""
        (self.releases / run_id).touch()

    def processes_named(self, *words: str) -> list[psutil.Process]:
        """Return this site's living processes with these words as their command line."""
        found = []
        for process in self.site.processes():
            with contextlib.suppress(psutil.Error):
                if process.cmdline() == list(words):
                    found.append(process)
        return found

    def wait_until_gone(self, *words: str, timeout_s: float = 20) -> None:
        """Wait until no process has these words as its command line."""
        wait_until(
            lambda: self.processes_named(*words),
            lambda seen: not seen,
            timeout_s=timeout_s,
            interval_s=0.2,
            what=f"`{' '.join(words)}` to be gone",
        )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.airflow)
            if EXECUTOR != AIR_EXECUTOR and item.get_closest_marker("only_air"):
                item.add_marker(pytest.mark.skip(reason="only Air-Executor promises this"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show, with a test that failed, what Airflow's components had to say."""
    report = yield
    stage = getattr(item, "funcargs", {}).get("stage")
    if report.failed and isinstance(stage, Stage) and HERE in item.path.parents:
        for name in ("scheduler", "api-server"):
            lines = [line for line in stage.site.log_text(name).splitlines() if "[error" in line or "Error:" in line]
            report.sections.append((f"errors in {name}.log", "\n".join(line[:400] for line in lines[-10:])))
    return report


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "stage" in metafunc.fixturenames:
        databases = ["sqlite"]
        if metafunc.definition.get_closest_marker("core"):
            databases.append("postgresql")
        chosen = os.environ.get("AIR_TEST_DATABASES", "sqlite,postgresql").split(",")
        metafunc.parametrize("stage", [name for name in databases if name in chosen], indirect=True, scope="package")


@pytest.fixture(scope="session")
def database_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite database, made by the first site that starts and copied by the others."""
    return tmp_path_factory.mktemp("template") / "airflow.db"


@pytest.fixture(scope="package")
def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, database_template: Path
) -> Iterator[Stage]:
    """A whole Airflow with Air-Executor, on SQLite or PostgreSQL."""
    with contextlib.ExitStack() as stack:
        url = None
        if request.param == "postgresql":
            if find_server_programs() is None:
                pytest.skip("PostgreSQL's server programs are not installed")
            url = stack.enter_context(PostgresServer({"fsync": "off"})).create("airflow")
        yield stack.enter_context(start_stage(tmp_path_factory.mktemp("site"), request.param, url, database_template))


@contextlib.contextmanager
def start_stage(directory: Path, database: str, url: str | None, template: Path) -> Iterator[Stage]:
    """Start an Airflow that runs the DAGs of `dags/`, and stop it at the end."""
    releases = directory / "releases"
    releases.mkdir()
    dags = directory / "dags"  # a copy, because tests change DAG files
    shutil.copytree(HERE / "dags", dags, ignore=shutil.ignore_patterns("__pycache__"))
    ledger = Ledger(directory / "ledger")
    statsd = StatsdListener()
    metrics = {"statsd_on": "True", "statsd_port": str(statsd.port), "statsd_influxdb_enabled": "True"}
    site = AirflowSite(
        directory,
        executor=EXECUTOR,
        dags_folder=dags,
        database_url=url,
        database_template=template,
        config={**CONFIG, "metrics": {"statsd_host": "127.0.0.1", **metrics}},
        environment={
            "AIR_TEST_LEDGER": str(ledger.path),
            "AIR_TEST_RELEASE": str(releases),
            "AIRFLOW_CONN_AIR_TEST_CANARY": f"http://somebody:{CANARY}@localhost/",
            "PATH": os.pathsep.join(
                [str(HERE / "programs"), str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
            ),
        },
    )
    with contextlib.closing(statsd), site:
        site.api.wait_for_dags(["kinds", "always_fails", "times_out", "leaves_daemon", "held", "cleared", "vanishing"])
        stage = Stage(site, database, ledger, releases, statsd)
        # All at once, because each spends its time waiting.
        for dag in ("kinds", "always_fails", "times_out", "leaves_daemon"):
            stage.runs[dag] = site.api.trigger(dag)
        yield stage
