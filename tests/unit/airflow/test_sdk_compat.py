from __future__ import annotations

from types import SimpleNamespace

import pytest

from air_executor.airflow import sdk_compat
from air_executor.airflow.sdk_compat import make_safe_tags

NAME = "air_executor.job.total_tasks"


def test_tags_hold_only_what_statsd_can_carry():
    tags = {"job_name": "sales-manual__2025-10-02T07:30:00+00:00-1e9065", "dag_id": "sales"}

    assert make_safe_tags(NAME, tags) == {
        "job_name": "sales-manual__2025-10-02T07-30-00-00-00-1e9065",
        "dag_id": "sales",
    }


def test_long_tags_are_cut_and_keep_their_end():
    tags = make_safe_tags(NAME, {"job_name": "x" * 190 + "-1e9065", "dag_id": "d" * 100, "task_id": "t"})

    assert len(NAME + "".join(f",{key}={value}" for key, value in tags.items())) <= 240
    assert tags["job_name"].endswith("-1e9065")
    assert tags["dag_id"] == "d" * 100


def test_airflow_takes_them():
    validators = pytest.importorskip(
        "airflow.sdk._shared.observability.metrics.validators", reason="of Airflow 3.2 and later"
    )
    tags = make_safe_tags(NAME, {"job_name": "a:b+c~" * 30, "dag_id": "d" * 90, "task_id": "t" * 90})

    name = NAME + "".join(f",{key}={value}" for key, value in tags.items())
    assert validators.stat_name_default_handler(name, allowed_chars={*validators.ALLOWED_CHARACTERS, ",", "="}) == name


def test_backend_that_fails_does_not_fail_the_task(monkeypatch):
    def fail(*_, **__):
        raise ConnectionError("no statsd")

    monkeypatch.setattr(sdk_compat, "find_metrics", lambda module: SimpleNamespace(gauge=fail))

    sdk_compat.set_task_gauge(NAME, 1, {})
