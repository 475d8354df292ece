"""What arrives at a StatsD server while a real scheduler runs tasks."""

from __future__ import annotations

import pytest

from tests.support.waiting import wait_until

pytestmark = [pytest.mark.core, pytest.mark.only_air]


def test_the_executor_reports_dispatches_ends_and_times_of_tasks(stage):
    run = stage.runs["kinds"]
    stage.api.wait_for_run("kinds", run)
    stage.api.wait_for_run("always_fails", stage.runs["always_fails"])

    def names():
        return {report.name for report in stage.statsd.reports("airflow.air_executor.")}

    wanted = {
        "airflow.air_executor.jobs",
        "airflow.air_executor.dispatched",
        "airflow.air_executor.dispatch_duration",
        "airflow.air_executor.ended",
        "airflow.air_executor.queue_to_start",
        "airflow.air_executor.run_duration",
        "airflow.air_executor.manager.up",
        "airflow.air_executor.manager.slots",
        "airflow.air_executor.manager.attempts",
        "airflow.air_executor.warm_parents.ready",
        "airflow.air_executor.warm_parents.loading",
    }
    wait_until(names, lambda seen: seen >= wanted, what="all metrics of the executor")

    def waits_of_bash():
        reports = stage.statsd.reports("airflow.air_executor.queue_to_start")
        return [report for report in reports if report.tags == {"dag_id": "kinds", "task_id": "bash"}]

    # Milliseconds, and no more than this test has run.
    [wait] = wait_until(waits_of_bash, what="the wait of one task")
    assert (wait.kind, 0 <= wait.number < 600_000) == ("ms", True)
    slots = stage.statsd.reports("airflow.air_executor.manager.slots")
    assert slots[-1].number == 16
    assert 1 in {report.number for report in stage.statsd.reports("airflow.air_executor.manager.up")}
    verdicts = {report.tags["verdict"] for report in stage.statsd.reports("airflow.air_executor.ended")}
    assert "succeeded" in verdicts
