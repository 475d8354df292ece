"""Callbacks that executors run."""

from __future__ import annotations

import pytest

from tests.support.waiting import wait_until


def test_missed_deadline_runs_its_callback(stage):
    pytest.importorskip("airflow.sdk.definitions.deadline", reason="deadlines came with Airflow 3.2")
    stage.api.wait_for_dags(["deadline"])
    run = stage.api.trigger("deadline")

    try:
        wait_until(
            lambda: [entry.task for entry in stage.ledger.entries("deadline", what="deadline")],
            lambda seen: seen == ["missed"],
            timeout_s=60,
            interval_s=0.2,
            what="the callback's line in the ledger",
        )
    finally:
        stage.release(run)

    stage.api.wait_for_success("deadline", run)
