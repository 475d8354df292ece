"""Tasks that run until a test has done something to them."""

from __future__ import annotations

from datetime import timedelta

from air_test_ledger import HOLD, SAY_END, SAY_START, hold, record_instance
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, task

# The first try holds a whole tree: a child, and one that left the session. A further try ends at once.
TREE = f"{SAY_START}; if [ {{{{ ti.try_number }}}} = 1 ]; then sleep 3611 & setsid sleep 3612 & {HOLD}; fi; {SAY_END}"

for name in ("killed_supervisor", "killed_task", "marked_success", "marked_failed", "cleared"):
    with DAG(name, schedule=None) as dag:
        BashOperator(
            task_id="tree",
            bash_command=TREE,
            retries=1 if name.startswith("killed") else 0,
            # One that is cleared is run anew at once all the same.
            retry_delay=timedelta(seconds=3600 if name == "cleared" else 0),
        )
    globals()[name] = dag

with DAG("held", schedule=None):
    for number in range(3):
        BashOperator(task_id=f"bash_{number}", bash_command=f"{SAY_START}; {HOLD}; {SAY_END}")

    @task
    def python_held(ti=None) -> str:
        record_instance("start", ti)
        hold(ti.run_id)
        record_instance("end", ti)
        return "done"

    python_held() >> BashOperator(task_id="afterwards", bash_command=f"{SAY_START}; {SAY_END}")
