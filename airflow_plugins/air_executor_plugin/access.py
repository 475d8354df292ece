"""Who may see which job: Airflow's permissions on the DAG that the job belongs to, asked anew for each request."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Annotated, Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import AccessView, DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import get_user
from airflow.models.dag import DagModel
from fastapi import Depends, Request

from air_executor.client import JobView

__all__ = ["find_readable", "get_user"]

_DAG_LABEL = "dag_id"


def find_readable(request: Request, user: Annotated[Any, Depends(get_user)]) -> Callable[[JobView], bool]:
    """Return the claim, for one request, that its user may read a job.

    A FastAPI dependency; without a login it answers 401 by itself.
    """
    if "name" not in request.path_params:
        may_read_dag = _judge_many(user)
    else:
        # Airflow guards the logs of tasks by a permission of their own.
        # Not of `request.url`: of a task's id that holds `?` or `#` older versions of Starlette cut the path there.
        is_log = request.scope["path"].endswith("/log")
        may_read_dag = _judge_one(user, DagAccessEntity.TASK_LOGS if is_log else DagAccessEntity.TASK_INSTANCE)

    @cache
    def may_read_others() -> bool:
        # A job of no DAG is somebody's own work on this machine: for those who may see what Airflow itself does there.
        return bool(get_auth_manager().is_authorized_view(access_view=AccessView.JOBS, user=user))

    def may_read(job: JobView) -> bool:
        dag_id = job.labels.get(_DAG_LABEL)
        return may_read_dag(dag_id) if dag_id else may_read_others()

    return may_read


def _judge_one(user: Any, entity: DagAccessEntity) -> Callable[[str], bool]:
    def may_read(dag_id: str) -> bool:
        details = DagDetails(id=dag_id, team_name=DagModel.get_team_name(dag_id))
        return bool(
            get_auth_manager().is_authorized_dag(method="GET", access_entity=entity, details=details, user=user)
        )

    return may_read


def _judge_many(user: Any) -> Callable[[str], bool]:
    # As Airflow's own lists of task instances: one question for all DAGs, which a remote login service can answer.
    @cache
    def readable() -> set[str]:
        manager = get_auth_manager()
        if not manager.is_authorized_dag(method="GET", access_entity=DagAccessEntity.TASK_INSTANCE, user=user):
            return set()
        return set(manager.get_authorized_dag_ids(user=user, method="GET"))

    return lambda dag_id: dag_id in readable()
