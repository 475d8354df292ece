"""Who hands work over: one try of a task instance of Airflow, and how its jobs are known."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from air_executor.client import JobView

KIND = "hand-over"


@dataclasses.dataclass(frozen=True)
class TaskInstanceTry:
    """One try of one task instance."""

    dag_id: str
    task_id: str
    run_id: str
    map_index: int
    try_number: int
    max_tries: int
    """Airflow raises it when somebody clears the task instance, and never else."""

    @classmethod
    def of(cls, ti: Any) -> TaskInstanceTry:
        """Return what is needed of Airflow's task instance."""
        map_index = -1 if ti.map_index is None else ti.map_index
        return cls(ti.dag_id, ti.task_id, ti.run_id, map_index, ti.try_number, getattr(ti, "max_tries", 0) or 0)

    @property
    def labels(self) -> dict[str, str]:
        """Return the labels of its jobs; the page in Airflow's web UI finds jobs by them."""
        return {
            "kind": KIND,
            "dag_id": self.dag_id,
            "run_id": self.run_id,
            "task_id": self.task_id,
            "map_index": str(self.map_index),
            "try_number": str(self.try_number),
        }

    def owns(self, view: JobView) -> bool:
        """Tell whether a job was handed over by this task instance, in whichever try."""
        mine = {name: text for name, text in self.labels.items() if name != "try_number"}
        return all(view.labels.get(name) == text for name, text in mine.items())
