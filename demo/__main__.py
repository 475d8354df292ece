"""Run two of the DAGs in dags/ under a real Airflow with Air-Executor, show each step, and stop everything.

Exit status 0 only if every task instance succeeded. With --keep the web UI stays until Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn

from air_executor import AirExecutorClient
from air_executor.errors import AirExecutorError
from demo.hand_over import HandOverWitness
from demo.witness import Witness
from tests.support.airflow_site import AIR_EXECUTOR, AirflowSite

PROJECT = Path(__file__).resolve().parent.parent
EXAMPLE = "example_air_executor_dag"
HYBRID = "hybrid_control_flow"
HYBRID_TASKS = 151
RUN_LIMIT_S = 180.0

Step = Callable[[str], None]


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
    except (AirExecutorError, AssertionError, RuntimeError, OSError) as error:
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
    site.api.wait_for_dags([EXAMPLE, HYBRID])
    is_good = _run_example(site, step) and _run_hybrid(site, step)
    print(f"  manager's log     {_shown(site.base_path / 'manager.log')}")
    print(f"  task logs         {_shown(site.directory / 'task-logs')}/")
    print(f"  Airflow's logs    {_shown(site.logs)}/")
    print(f"  airflow.cfg       {_shown(site.home / 'airflow.cfg')}")
    print()
    if keep and is_good:
        _keep(site)
    return 0 if is_good else 1


def _run_example(site: AirflowSite, step: Step) -> bool:
    """Run tasks of Airflow, each in a process of its own; show what happens to each of them."""
    print("\n1. Airflow's own tasks, run by Air-Executor\n")
    run_id = site.api.trigger(EXAMPLE)
    step(f"triggered {EXAMPLE}, run {run_id}")
    print(f"\n{'':6}    {'task':<12} {'seen in':<14} what")

    def report(task: str, where: str, what: str) -> None:
        step(f"{task:<12} {where:<14} {what}")

    witness = Witness(site.base_path, site.api, EXAMPLE, run_id, report)
    is_good = _watch(site, witness, EXAMPLE, run_id)
    said = [line for line in site.api.log(EXAMPLE, run_id, "print_hello").splitlines() if line.startswith("Hello")]
    print(f"  print_hello said  {said[0] if said else 'nothing!'}")
    print(f"  job files         {_shown(site.base_path / 'jobs')}/")
    for job in witness.jobs:
        print(f"                      {job.name}/")
    return is_good and bool(said) and bool(witness.jobs)


def _run_hybrid(site: AirflowSite, step: Step) -> bool:
    """Hand one task over, which becomes 151; show how far they are."""
    print("\n2. Airflow hands over one task; it finds its own work, and Airflow takes control back\n")
    run_id = site.api.trigger(HYBRID)
    step(f"triggered {HYBRID}, run {run_id}")
    print(f"\n{'':6}    {'task':<26} {'seen in':<14} what")

    def report(task: str, where: str, what: str) -> None:
        step(f"{task:<26} {where:<14} {what}")

    client = AirExecutorClient(site.base_path)
    witness = HandOverWitness(client, site.api, HYBRID, run_id, report)
    is_good = _watch(site, witness, HYBRID, run_id)
    job = witness.job
    if job is None:
        print("  no job was seen!")
        return False
    tasks = client.tasks(job.name)
    began = min((task.started_at for task in tasks if task.started_at), default=job.created_at)
    duration_s = (job.updated_at - began).total_seconds()
    rest = sum("-from-" in task.id for task in tasks)
    print(f"  handed over       1 task, which queued {len(tasks) - 1 - rest}, of which {rest} queued one more each")
    print(f"  completed         {job.tasks['completed']} of {len(tasks)} tasks in {duration_s:.1f} s")
    print(f"  job files         {_shown(client.job_path(job.name))}/")
    return is_good and job.tasks["completed"] == len(tasks) == HYBRID_TASKS


def _watch(site: AirflowSite, witness: Witness | HandOverWitness, dag_id: str, run_id: str) -> bool:
    """Watch a run until it has ended; show the logs of what did not succeed, and return whether all did."""
    limit = time.monotonic() + RUN_LIMIT_S
    next_question = 0.0
    run_state, states = "", {}
    while run_state not in ("success", "failed"):
        witness.look_at_files()
        if time.monotonic() >= next_question:
            site.check_all_alive()
            run_state, states = witness.look_at_airflow()
            next_question = time.monotonic() + 0.3
        if time.monotonic() > limit:
            raise RuntimeError(f"the DAG run has not ended in {RUN_LIMIT_S:.0f} s; its task instances: {states}")
        time.sleep(0.02)
    witness.look_at_files()
    succeeded = [task for task, state in states.items() if state == "success"]
    print(f"\n{len(succeeded)} of {len(states)} task instances succeeded; the DAG run's state is {run_state}.\n")
    for task in states.keys() - succeeded:
        print(f"--- log of {task}\n{site.api.log(dag_id, run_id, task)}\n")
    return run_state == "success" and len(succeeded) == len(states) > 0


def _keep(site: AirflowSite) -> None:
    print(f"Airflow's web UI      {site.url}")
    print(f"login                 {site.username} / {site.password}")
    print("DAGs to try           docs/dags.md says what each one shows")
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
