"""A deadline that is missed, whose callback the executor runs (Airflow 3.2 and later; empty before)."""

from __future__ import annotations

from datetime import timedelta

from air_test_ledger import HOLD, record_deadline
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

try:
    from airflow.sdk import DeadlineAlert, DeadlineReference, SyncCallback
except ImportError:
    pass
else:
    alert = DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=timedelta(seconds=1),
        callback=SyncCallback(record_deadline, kwargs={"note": "missed"}),
    )
    with DAG("deadline", schedule=None, deadline=alert):
        BashOperator(task_id="late", bash_command=HOLD)
