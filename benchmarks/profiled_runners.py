"""Fork runners from a warm parent that is this process, and print as JSON what each of them cost.

`python -m benchmarks.profiled_runners COUNT LIMIT_S DIRECTORY`, in the environment of AirExecutorExecutor; `benchmarks.runner_profile` does.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import struct
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from air_executor.process.fork_runner import ForkRunner
from air_executor.process.protocol import Launch
from air_executor.process.runner import Inheritance

if TYPE_CHECKING:
    from air_executor.airflow.runner import WorkloadRunner

_AT_ONCE = 32
_WARM_UPS = 3
_RECORD = struct.Struct("qddq")
"""Of a runner that ends: its pid; user seconds, system seconds and page faults of the task."""

Cost = dict[str, dict[str, float]]
"""By process: user and system milliseconds, and page faults."""


class ProfiledRunners:
    """Starts runners, and says what each and its task had used when it was reaped."""

    def __init__(self, run_workload: WorkloadRunner, directory: Path) -> None:
        """Prepare; workloads and the runners' output go to `directory`."""
        self._run_workload = run_workload
        self._directory = directory
        self._fork = ForkRunner(self._run_and_tell, run_workload.get_ready)
        self._log_fd = os.open(directory / "runners.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._read_fd, self._write_fd = os.pipe()
        self._begun: dict[int, float] = {}
        self._of_tasks: dict[int, tuple[float, float, int]] = {}
        self._launched = 0

    def run(self, count: int, at_once: int, limit_s: float) -> list[Cost]:
        """Run so many, fewer if the time is over before; return what each cost.

        :raises RuntimeError: one has failed.
        """
        costs: list[Cost] = []
        until = time.monotonic() + limit_s
        for _ in range(at_once):
            self._launch()
        to_launch = count - at_once
        while self._begun:
            costs.append(self._reap())
            if to_launch > 0 and time.monotonic() < until:
                self._launch()
                to_launch -= 1
        return costs

    def _launch(self) -> None:
        self._launched += 1
        path = self._directory / f"workload-{self._launched}.json"
        path.write_text(json.dumps(_make_workload(self._launched)))
        launch = Launch(attempt_id=f"a/{self._launched}", log_path="/", command="true", workload_path=str(path))
        begun = time.monotonic()
        self._begun[self._fork(launch, Inheritance(self._log_fd))] = begun
        # As a fork server does.
        self._fork.fork_ahead(())

    def _reap(self) -> Cost:
        pid, status, both = os.wait4(-1, 0)
        elapsed_s = time.monotonic() - self._begun.pop(pid)
        if status:
            text = (self._directory / "runners.log").read_text(errors="replace")[-2000:]
            raise RuntimeError(f"a runner ended with status {status}:\n{text}")
        while pid not in self._of_tasks:
            teller, *used = _RECORD.unpack(os.read(self._read_fd, _RECORD.size))
            self._of_tasks[teller] = (used[0], used[1], used[2])
        user_s, system_s, faults = self._of_tasks.pop(pid)
        return {
            "supervisor": _describe(both.ru_utime - user_s, both.ru_stime - system_s, both.ru_minflt - faults),
            "task": _describe(user_s, system_s, faults),
            "all": {"elapsed_ms": elapsed_s * 1000},
        }

    def _run_and_tell(self, launch: Launch) -> int:
        try:
            return self._run_workload(launch)
        finally:
            # The supervisor has reaped its task; what it uses itself from here on, its parent learns.
            task = resource.getrusage(resource.RUSAGE_CHILDREN)
            os.write(self._write_fd, _RECORD.pack(os.getpid(), task.ru_utime, task.ru_stime, task.ru_minflt))


def _make_workload(number: int) -> dict[str, Any]:
    return {
        "type": "ExecuteTask",
        "token": "x.y.z",
        "dag_rel_path": "true_dags.py",
        "bundle_info": {"name": "dags-folder", "version": None},
        "log_path": f"independent/{number}.log",
        "ti": {
            "id": str(uuid.uuid4()),
            "dag_version_id": str(uuid.uuid4()),
            "task_id": f"true_{number % 100}",
            "dag_id": "independent",
            "run_id": "r",
            "try_number": 1,
            "map_index": -1,
            "pool_slots": 1,
            "queue": "default",
            "priority_weight": 1,
            "parent_context_carrier": {},
            "context_carrier": {},
        },
    }


def _describe(user_s: float, system_s: float, faults: float) -> dict[str, float]:
    return {"user_ms": user_s * 1000, "system_ms": system_s * 1000, "faults": faults}


def _measure(runners: ProfiledRunners, count: int, at_once: int, limit_s: float) -> dict[str, Any]:
    before = resource.getrusage(resource.RUSAGE_SELF)
    costs = runners.run(count, at_once, limit_s)
    after = resource.getrusage(resource.RUSAGE_SELF)
    used = (after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime, after.ru_minflt - before.ru_minflt)
    return {"runners": costs, "parent": _describe(*(each / len(costs) for each in used))}


def main() -> int:
    """Do as a warm parent does, then measure."""
    count, limit_s, directory = int(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3])
    from air_executor.airflow import preload

    run_workload = preload.load(preload.read_own_options())
    gc.collect()
    gc.freeze()
    gc.disable()
    runners = ProfiledRunners(run_workload, directory)
    runners.run(_WARM_UPS, 1, limit_s)
    alone = _measure(runners, count, 1, limit_s)
    (directory / "costs.json").write_text(
        json.dumps({"alone": alone, "at_once": _measure(runners, max(count, _AT_ONCE), _AT_ONCE, limit_s)})
    )
    return 0


if __name__ == "__main__":
    code = main()
    # Not sys.exit: the objects may be immortal.
    os._exit(code)
