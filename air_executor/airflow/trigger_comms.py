"""What a trigger says to Airflow and asks of it while it runs: XComs, the state of its task instance."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any, TypeVar

from air_executor.airflow.sdk_compat import find
from air_executor.airflow.task_instance_try import TaskInstanceTry

T = TypeVar("T")


async def push_xcoms(who: TaskInstanceTry, xcoms: Mapping[str, Any]) -> None:
    """Push XComs of a deferred task instance.

    :raises Exception: Airflow did not take them; whatever its version raises.
    """
    from airflow.sdk.execution_time.comms import SetXCom
    from airflow.sdk.execution_time.xcom import XCom

    for key, value in xcoms.items():
        place: dict[str, Any] = {
            "key": key,
            "dag_id": who.dag_id,
            "task_id": who.task_id,
            "run_id": who.run_id,
            "map_index": who.map_index,
        }
        message = SetXCom(value=XCom.serialize_value(value=value, **place), **place)
        await finish_anyway(_comms().asend(message))


async def has_left(who: TaskInstanceTry) -> bool:
    """Claim that the task instance is not deferred any more: somebody acted on it, or its time is up.

    :raises Exception: Airflow did not answer; whatever its version raises.
    """
    from airflow.sdk.execution_time.comms import GetTaskStates

    question = GetTaskStates(dag_id=who.dag_id, map_index=who.map_index, task_ids=[who.task_id], run_ids=[who.run_id])
    answer = await finish_anyway(_comms().asend(question))
    states: dict[str, Any] = getattr(answer, "task_states", {}).get(who.run_id, {})
    # One entry, called by task id or task id and map index. A cleared one has no state.
    return bool(states) and "deferred" not in states.values()


async def finish_anyway(work: Awaitable[T]) -> T:
    """Await work that goes on when whoever awaits it is cancelled.

    In Airflow 3.1 a question whose answer nobody reads any more ends the triggerer.
    """
    return await asyncio.shield(asyncio.ensure_future(work))


def _comms() -> Any:
    return find("airflow.sdk.execution_time.task_runner", "SUPERVISOR_COMMS")
