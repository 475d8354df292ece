"""Work that is handed over to Air-Executor, in every way there is."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, task

from air_executor.airflow.operators import AirExecutorJobOperator, AirExecutorSubmitOperator
from air_executor.airflow.sensors import AirExecutorJobSensor

HELD = 'for _ in $(seq 2400); do [ -e "$AIR_TEST_RELEASE/{{ run_id }}" ] && break; sleep 0.05; done'
RESULT = 'echo {value} > "$AIR_EXECUTOR_RESULT_FILE"'


def shell(task_id: str, script: str, *dependencies: str) -> dict:
    return {"id": task_id, "command": "sh", "args": ["-c", script], "dependencies": list(dependencies)}


with DAG("hand_over", schedule=None):
    # Submit, wait, and use, as three tasks.
    submit = AirExecutorSubmitOperator(
        task_id="submit", tasks=[shell("first", "echo {{ run_id }}"), shell("second", "sleep 1", "first")]
    )
    for mode in ("poke", "reschedule"):
        AirExecutorJobSensor(task_id=f"wait_{mode}", job_name=submit.output, mode=mode, poke_interval=1)
    AirExecutorJobSensor(task_id="wait_deferred", job_name=submit.output, deferrable=True, defer_after=0)

    # In one, deferred from the start.
    whole = AirExecutorJobOperator(
        task_id="whole",
        tasks=[shell("slow", "sleep 3"), shell("answer", RESULT.format(value=42), "slow")],
        defer_after=0,
        report_interval=0.5,
    )

    @task
    def use(summary: dict) -> int:
        return summary["results"]["answer"]

    use(whole.output)

    ended_there = AirExecutorJobOperator(
        task_id="ended_there", tasks=[shell("answer", RESULT.format(value=7))], defer_after=0, end_from_trigger=True
    )
    use.override(task_id="use_ended_there")(ended_there.output)

    AirExecutorJobOperator.partial(task_id="mapped", defer_after=0).expand(
        tasks=[[shell("answer", RESULT.format(value=value))] for value in (10, 20)]
    )

    @task
    def find_work() -> list[dict]:
        return [shell(f"part-{number}", "true") for number in range(12)]

    AirExecutorJobOperator(task_id="from_xcom", tasks=find_work(), max_parallel=4)

    @task.air_executor(max_parallel=2)
    def returns_tasks(count: int, run_id: str | None = None) -> list[dict]:
        return [
            {"id": f"task-{number}", "command": "test", "args": [run_id, "=", "{{ run_id }}"]}
            for number in range(count)
        ]

    returns_tasks(3)

    @task.air_executor(discovers=True)
    def discovers(count: int) -> dict:
        from air_executor import queue_tasks

        queue_tasks([{"id": f"found-{number}", "command": "true"} for number in range(count)])
        return {"found": count}

    discovers(5)

with DAG("hand_over_retry", schedule=None):
    # Completes in the second attempt only: `once` counts its runs.
    AirExecutorJobOperator(
        task_id="fails_once",
        tasks=[
            shell("once", 'echo "start hand_over_retry once {{ run_id }} -1 1 $$ 0" >> "$AIR_TEST_LEDGER"'),
            shell(
                "twice",
                'test -e "$AIR_TEST_RELEASE/{{ run_id }}.again" || { touch "$AIR_TEST_RELEASE/{{ run_id }}.again"; exit 3; }',
            ),
        ],
        retries=1,
        retry_delay=timedelta(seconds=0),
    )

for dag_id in ("hand_over_cleared", "hand_over_marked", "hand_over_killed"):
    with DAG(dag_id, schedule=None) as dag:
        AirExecutorJobOperator(
            task_id="held",
            tasks=[shell("held", HELD)],
            deferrable=dag_id != "hand_over_killed",
            defer_after=0,
        )
    globals()[dag_id] = dag

with DAG("hand_over_many", schedule=None):
    AirExecutorJobOperator.partial(task_id="held", defer_after=0).expand(
        tasks=[[shell("held", HELD)] for _ in range(24)]
    )
