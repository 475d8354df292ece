"""Watches one DAG run from outside: Airflow's API on one side, the files under the base path on the other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.airflow_api import AirflowApi

Report = Callable[[str, str, str], None]


class Witness:
    """Reports each step of each task instance once, in the order in which it saw them."""

    def __init__(self, base_path: Path, api: AirflowApi, dag_id: str, run_id: str, report: Report) -> None:
        """Prepare to watch `run_id`; `report` gets the task, where the step was seen, and what it is."""
        self._base_path = base_path
        self._api = api
        self._dag_id = dag_id
        self._run_id = run_id
        self._report = report
        self._task_by_job: dict[str, str] = {}
        self._said: set[tuple[str, str, str]] = set()

    def look_at_files(self) -> None:
        """Report what has changed in job directories and about runners."""
        for directory in sorted((self._base_path / "jobs").glob("*")):
            state = _read(directory / "state.json")
            labels = state.get("labels", {}) if state else {}
            if labels.get("run_id") != self._run_id or labels.get("dag_id") != self._dag_id:
                continue
            task = labels["task_id"]
            if directory.name not in self._task_by_job:
                self._task_by_job[directory.name] = task
                self._say(task, "job directory", _shorten(directory.name, self._run_id))
            self._look_at_runners()
            if state["state"] in ("completed", "failed", "cancelled"):
                self._say(task, "job state", f"{state['state']}{_describe_end(_read(directory / 'tasks.json'))}")
            else:
                self._say(task, "job state", state["state"])

    def look_at_airflow(self) -> tuple[str, dict[str, str | None]]:
        """Report what has changed in Airflow, and return the states of the run and of its task instances."""
        states = self._api.states(self._dag_id, self._run_id)
        for task, state in sorted(states.items()):
            # Airflow's `running` comes after ours, its end before ours: the files are looked at first and last.
            if state in ("queued", "running", "success", "failed", "up_for_retry", "upstream_failed", "skipped"):
                self._say(task, "Airflow", str(state))
        return str(self._api.run(self._dag_id, self._run_id)["state"]), states

    @property
    def jobs(self) -> list[Path]:
        """Return the job directories that were seen."""
        return [self._base_path / "jobs" / name for name in self._task_by_job]

    def _look_at_runners(self) -> None:
        for spool in (self._base_path / "run").glob("*.jsonl"):
            try:
                lines = spool.read_text().splitlines()
            except OSError:
                continue
            for line in lines:
                try:
                    message = json.loads(line)
                except ValueError:
                    continue  # a line that is just being written
                task = self._task_by_job.get(str(message.get("attempt_id", "")).split("/")[0])
                if task and message.get("type") == "started":
                    self._say(task, "runner", f"process {message['pid']} started")
                elif task and message.get("type") == "ended":
                    self._say(task, "runner", "process gone")

    def _say(self, task: str, where: str, what: str) -> None:
        if (task, where, what) not in self._said:
            self._said.add((task, where, what))
            self._report(task, where, what)


def _shorten(job_name: str, run_id: str) -> str:
    return job_name.replace(run_id, "...")


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def _describe_end(tasks: Any) -> str:
    if not tasks:
        return ""
    task = tasks[0]
    parts = [f"exit code {task['exit_code']}"] if task.get("exit_code") is not None else []
    if task.get("cpu_s") is not None:
        parts.append(f"{task['cpu_s']:.2f} s CPU")
    if task.get("peak_memory_bytes"):
        parts.append(f"{task['peak_memory_bytes'] / 2**20:.0f} MiB at most")
    if task.get("error"):
        parts.append(str(task["error"]))
    return f" ({', '.join(parts)})" if parts else ""
