"""The differences between the Airflow versions in what runs in tasks and triggers; `compat` has those of the executor.

Imports little: DAG files import it.
"""

from __future__ import annotations

import importlib
import re
from typing import Any


def find(module: str, name: str) -> Any:
    """Return what a module of Airflow calls `name`, None where this version has no such thing."""
    try:
        return getattr(importlib.import_module(module), name, None)
    except ImportError:
        return None


def _find_error(name: str) -> type[Exception]:
    # 3.1 has them in core alone; later versions warn there.
    error: type[Exception] = find("airflow.sdk.exceptions", name) or find("airflow.exceptions", name)
    return error


conf: Any = find("airflow.sdk", "conf") or find("airflow.configuration", "conf")

determine_kwargs: Any = find("airflow.sdk.bases.decorator", "determine_kwargs") or find(
    "airflow.utils.operator_helpers", "determine_kwargs"
)
"""Picks what a function's signature asks for."""

AirflowException = _find_error("AirflowException")
AirflowFailException = _find_error("AirflowFailException")
AirflowNotFoundException = _find_error("AirflowNotFoundException")
AirflowSensorTimeout = _find_error("AirflowSensorTimeout")
AirflowSkipException = _find_error("AirflowSkipException")
TaskDeferralTimeout = _find_error("TaskDeferralTimeout")
TaskDeferred: type[BaseException] = _find_error("TaskDeferred")


_SDK_METRICS_MODULE = "airflow.sdk.observability.stats"
_NOT_IN_STATS = re.compile(r"[^A-Za-z0-9_./-]+")
_MAX_STAT_LENGTH = 240
"""Airflow refuses more than 250, with the prefix that a site may have."""


def find_metrics(module: str) -> Any:
    """Return what has the functions that report metrics; None where this version has no such thing.

    Look them up at each report: those of 3.2 are bound to what core has initialised by then.
    """
    # 3.3: functions of a module. 3.2: a class in that module, which only reports where core has initialised it. 3.1: core's class.
    if find(module, "gauge") is not None:
        return importlib.import_module(module)
    return find(module, "Stats") or find("airflow.stats", "Stats")


def make_safe_tags(name: str, tags: dict[str, str]) -> dict[str, str]:
    """Return tags that StatsD can carry: it has them in the metric's name, and refuses a name with a colon, or a long one."""
    safe = {key: _NOT_IN_STATS.sub("-", value) for key, value in tags.items()}
    excess = len(name) + sum(len(key) + len(value) + 2 for key, value in safe.items()) - _MAX_STAT_LENGTH
    if excess > 0:
        longest = max(safe, key=lambda key: len(safe[key]))
        # Names of jobs differ at their end.
        safe[longest] = safe[longest][excess:]
    return safe


def set_task_gauge(name: str, number: float, tags: dict[str, str]) -> None:
    """Report a metric from a task or trigger; metrics never stop the work that they measure."""
    try:
        find_metrics(_SDK_METRICS_MODULE).gauge(name, number, tags=make_safe_tags(name, tags))
    except Exception:
        # A metrics backend may raise anything, and a later Airflow may have none of that name.
        return


def read_xcom(ti: Any, key: str) -> Any:
    """Return an XCom that a task instance pushed itself; None if there is none."""
    from airflow.sdk.execution_time.xcom import XCom

    map_index = getattr(ti, "map_index", None)
    return XCom.get_one(
        key=key,
        dag_id=ti.dag_id,
        task_id=ti.task_id,
        run_id=ti.run_id,
        map_index=-1 if map_index is None else map_index,
    )


def push_link(ti: Any, key: str, url: str) -> None:
    """Store the link of a running task where Airflow stores it when the task has ended; without it there is none until then."""
    from airflow.sdk.execution_time.xcom import XCom

    # The web UI reads the database itself, whatever the XCom backend.
    store = getattr(XCom, "_set_xcom_in_db", None)
    if store is not None:
        map_index = -1 if ti.map_index is None else ti.map_index
        store(key=key, value=url, dag_id=ti.dag_id, task_id=ti.task_id, run_id=ti.run_id, map_index=map_index)
