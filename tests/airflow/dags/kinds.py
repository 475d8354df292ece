"""Every kind of task, none of which needs a test's help."""

from __future__ import annotations

import os
from datetime import timedelta

from air_test_ledger import SAY_END, SAY_START, record_instance
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import DAG, BaseOperator, task

try:
    from airflow.sdk.exceptions import AirflowSkipException
except ImportError:  # before 3.2
    from airflow.exceptions import AirflowSkipException


class DeferOnce(BaseOperator):
    def execute(self, context):
        record_instance("start", context["ti"])
        self.defer(trigger=TimeDeltaTrigger(timedelta(seconds=1)), method_name="resume")

    def resume(self, context, event=None):
        record_instance("end", context["ti"])
        return "resumed"


with DAG("kinds", schedule=None):
    BashOperator(task_id="bash", bash_command=f"{SAY_START}; echo to stdout; echo to stderr >&2; {SAY_END}; echo done")

    @task
    def produce() -> dict:
        return {"numbers": [1, 2, 3], "pid": os.getpid()}

    @task
    def consume(produced: dict) -> int:
        assert produced["pid"] != os.getpid(), "two tasks shared a process"
        return sum(produced["numbers"])

    consume(produce())

    @task
    def square(x: int, ti=None) -> int:
        record_instance("start", ti)
        return x * x

    @task
    def total(squares) -> int:
        return sum(squares)

    total(square.expand(x=[1, 2, 3, 4]))

    @task.branch
    def choose() -> str:
        return "taken"

    choose() >> [
        BashOperator(task_id="taken", bash_command="true"),
        BashOperator(task_id="not_taken", bash_command="false"),
    ]

    @task
    def skips_itself():
        raise AirflowSkipException("nothing to do")

    skips_itself()

    @task(retries=1, retry_delay=timedelta(seconds=1))
    def fails_once(ti=None) -> int:
        record_instance("start", ti)
        if ti.try_number == 1:
            raise ValueError("the first try fails on purpose")
        return ti.try_number

    fails_once()

    DeferOnce(task_id="defers")

    # Airflow has sudo run the task anew, which stays connected to the supervisor of the first process.
    BashOperator(task_id="as_somebody", bash_command="echo as $AIR_TEST_SUDO_USER", run_as_user="somebody")


with DAG("always_fails", schedule=None):
    BashOperator(
        task_id="exits_7",
        bash_command=f"{SAY_START}; echo last words; exit 7",
        retries=1,
        retry_delay=timedelta(seconds=1),
    )

with DAG("times_out", schedule=None):

    @task(execution_timeout=timedelta(seconds=2))
    def python_sleeps(ti=None):
        import time

        record_instance("start", ti)
        time.sleep(600)

    python_sleeps()

    BashOperator(
        task_id="bash_sleeps",
        bash_command=f"{SAY_START}; setsid sleep 3601 & sleep 3602",
        execution_timeout=timedelta(seconds=2),
    )

with DAG("leaves_daemon", schedule=None):
    BashOperator(
        task_id="start_daemon",
        bash_command=f"{SAY_START}; setsid sh -c 'exec >/dev/null 2>&1 </dev/null; sleep 3603' & sleep 0.3; {SAY_END}",
    )
