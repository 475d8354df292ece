"""The link from a task instance to the page of its job in Airflow's web UI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.sdk import BaseOperatorLink

from air_executor.airflow import sdk_compat

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

_PAGE = "/air-executor/"
"""Of the plugin in airflow_plugins/."""


class AirExecutorJobLink(BaseOperatorLink):
    """Leads to the page of the job."""

    name = "Air-Executor job"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the link; Airflow asks for it, in the worker, when the task has ended."""
        job_name = sdk_compat.read_xcom(ti_key, "job_name") or getattr(operator, "job_name", None)
        return make_job_url(str(job_name)) if job_name else ""

    @classmethod
    def show(cls, ti: Any, job_name: str) -> None:
        """Show the link from now on: Airflow itself does so only when the task has ended."""
        sdk_compat.push_link(ti, cls().xcom_key, make_job_url(job_name))


def make_job_url(job_name: str) -> str:
    """Return where the web UI shows a job."""
    base_url = (sdk_compat.conf.get("api", "base_url", fallback="") or "").rstrip("/")
    return f"{base_url}{_PAGE}#job={quote(job_name, safe='')}"
