"""The plugin that shows Air-Executor's jobs in Airflow's web UI, from Airflow 3.1 on.

Every Airflow process imports this module, each task's too: it imports nothing heavy, starts nothing and opens nothing.
The application is built where it is asked for, which is in the API server.
"""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin

URL_PREFIX = "/air-executor"
# Relative, so that the page is found where Airflow is served under a path of its own.
_PAGE = f"{URL_PREFIX.strip('/')}/"
_ICONS = {"icon": f"{_PAGE}icon.svg", "icon_dark_mode": f"{_PAGE}icon-dark.svg"}
_DAG = f"{_PAGE}?dag_id={{DAG_ID}}"
_DAG_RUN = f"{_DAG}&run_id={{RUN_ID}}"
_TASK_INSTANCE = f"{_DAG_RUN}&task_id={{TASK_ID}}&map_index={{MAP_INDEX}}"


def _make_view(destination: str, url_route: str, href: str) -> dict[str, Any]:
    # `nav_top_level` is of 3.3; before, a view without a category stands there anyway.
    top_level = {"nav_top_level": True} if destination == "nav" else {}
    return {
        # Airflow cuts what is longer in its narrow navigation.
        "name": "Air Jobs" if destination == "nav" else "Air-Executor",
        "destination": destination,
        "url_route": url_route,
        "href": href,
        **_ICONS,
        **top_level,
    }


_VIEWS = [
    _make_view("nav", "air-executor", _PAGE),
    _make_view("dag", "air-executor-dag", _DAG),
    _make_view("dag_run", "air-executor-dag-run", _DAG_RUN),
    _make_view("task_instance", "air-executor-task-instance", _TASK_INSTANCE),
]


class AirExecutorPlugin(AirflowPlugin):
    """A page of all jobs in the navigation, and tabs with the jobs of a DAG, a DAG run and a task instance."""

    name = "air_executor"
    external_views = _VIEWS

    @property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]  # a list in Airflow's class
        """Return the application that serves the page and its data; built at the first call."""
        from air_executor_plugin.app import get_app

        return [{"app": get_app(), "url_prefix": URL_PREFIX, "name": "Air-Executor"}]
