"""Run example_air_executor_dag under a real Airflow with Air-Executor, show each step, and stop everything.

Exit status 0 only if every task instance succeeded. With --keep the web UI stays until Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn

from demo.witness import Witness
from tests.support.airflow_site import AIR_EXECUTOR, AirflowSite

PROJECT = Path(__file__).resolve().parent.parent
DAG_ID = "example_air_executor_dag"
TASKS = ("print_date", "sleep", "print_hello")
RUN_LIMIT_S = 180.0


def main() -> int:
    """Run the demonstration and return its exit status."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave Airflow's web UI running until Ctrl-C")
    keep = parser.parse_args().keep
    # A terminated demonstration stops what it started, as with Ctrl-C.
    signal.signal(signal.SIGTERM, _interrupt)

    began = time.monotonic()
    directory = PROJECT / ".demo" / time.strftime("%Y%m%d-%H%M%S")
    directory.mkdir(parents=True)
    site = AirflowSite(directory, executor=AIR_EXECUTOR, dags_folder=PROJECT / "dags")
    print(
        f"Air-Executor {version('air-executor')} with Airflow {version('apache-airflow')}, Python {platform.python_version()}, SQLite"
    )
    print(f"Everything of this demonstration is in {_shown(directory)}")
    try:
        return _run(site, began, keep)
    except KeyboardInterrupt:
        print("\nInterrupted.")
        return 130
    except (AssertionError, RuntimeError, OSError) as error:
        print(f"\nFAILED: {error}", file=sys.stderr)
        return 1
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave anything behind
        print("Stopping what was started ...", flush=True)
        site.stop()
        print("Nothing of it runs any more.")


def _run(site: AirflowSite, began: float, keep: bool) -> int:
    def step(text: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {text}", flush=True)

    print()
    step("making Airflow's database")
    site.prepare()
    step("starting Airflow: scheduler, API server, DAG processor, triggerer")
    for component in ("scheduler", "api-server", "dag-processor", "triggerer"):
        site.start(component)
    site.wait_until_healthy()
    manager = site.wait_for_manager()
    step(f"Airflow is up; its executor has started the manager (process {manager})")
    site.api.wait_for_dags([DAG_ID])
    run_id = site.api.trigger(DAG_ID)
    step(f"triggered {DAG_ID}, run {run_id}")
    print(f"\n{'':6}    {'task':<12} {'seen in':<14} what")

    def report(task: str, where: str, what: str) -> None:
        step(f"{task:<12} {where:<14} {what}")

    witness = Witness(site.base_path, site.api, DAG_ID, run_id, report)
    run_state, states = _watch(site, witness)
    succeeded = [task for task in TASKS if states.get(task) == "success"]
    is_good = run_state == "success" and len(succeeded) == len(TASKS) == len(states) and len(witness.jobs) >= len(TASKS)

    print(f"\n{len(succeeded)} of {len(TASKS)} task instances succeeded; the DAG run's state is {run_state}.\n")
    for task in TASKS:
        if states.get(task) != "success":
            print(f"--- log of {task}\n{site.api.log(DAG_ID, run_id, task)}\n")
    said = [line for line in site.api.log(DAG_ID, run_id, "print_hello").splitlines() if line.startswith("Hello")]
    print(f"  print_hello said  {said[0] if said else 'nothing!'}")
    print(f"  job files         {_shown(site.base_path / 'jobs')}/")
    for job in witness.jobs:
        print(f"                      {job.name}/")
    print(f"  manager's log     {_shown(site.base_path / 'manager.log')}")
    print(f"  task logs         {_shown(site.directory / 'task-logs')}/")
    print(f"  Airflow's logs    {_shown(site.logs)}/")
    print(f"  airflow.cfg       {_shown(site.home / 'airflow.cfg')}")
    print()
    if keep and is_good:
        _keep(site)
    return 0 if is_good and said else 1


def _watch(site: AirflowSite, witness: Witness) -> tuple[str, dict[str, str | None]]:
    limit = time.monotonic() + RUN_LIMIT_S
    next_question = 0.0
    while True:
        witness.look_at_files()
        if time.monotonic() >= next_question:
            site.check_all_alive()
            run_state, states = witness.look_at_airflow()
            if run_state in ("success", "failed"):
                witness.look_at_files()
                return run_state, states
            next_question = time.monotonic() + 0.3
        if time.monotonic() > limit:
            raise RuntimeError(f"the DAG run has not ended in {RUN_LIMIT_S:.0f} s; its task instances: {states}")
        time.sleep(0.02)


def _keep(site: AirflowSite) -> None:
    print(f"Airflow's web UI      {site.url}")
    print(f"login                 {site.username} / {site.password}")
    print(f"jobs, as they change  watch -n 2 ./status.sh --base-path {_shown(site.base_path)}")
    print(f"Ctrl-C stops everything, and so does `kill {os.getpid()}` from elsewhere.", flush=True)
    try:
        while True:
            site.check_all_alive()
            time.sleep(1)
    except KeyboardInterrupt:
        print()


def _shown(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
