"""The operator that draws a job's progress."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

pytest.importorskip("airflow.sdk", reason="Airflow is not installed")
pytest.importorskip("matplotlib", reason="the extra `plot` is not installed")

from air_executor.airflow.chart_operator import AirExecutorChartOperator
from air_executor.airflow.hook import AirExecutorHook
from air_executor.client import AirExecutorClient
from air_executor.errors import ChartError, JobNotFoundError


@pytest.fixture
def client(tmp_path, monkeypatch):
    client = AirExecutorClient(tmp_path / "root")
    client.create_job("load", [{"command": "true"}])
    monkeypatch.setattr(AirExecutorHook, "get_client", lambda hook: client)
    return client


def draw(**options):
    return AirExecutorChartOperator(task_id="chart", **options).execute({})


def test_the_path_is_returned_and_logged(client, tmp_path, caplog, capsys):
    path = tmp_path / "pictures" / "load.svg"
    with caplog.at_level(logging.INFO):
        assert draw(job_name="load", output=path) == str(path)
    assert path.stat().st_size > 1000
    # Airflow logs to either, depending on its version.
    assert f"✅ Progress chart saved: {path}" in caplog.text + capsys.readouterr().out


def test_by_default_it_lies_in_the_base_path(client):
    path = Path(draw(job_name="load"))
    assert path == client.base_path / "charts" / "load-progress.png"
    assert path.read_bytes().startswith(b"\x89PNG")


def test_job_and_output_may_be_templates():
    assert set(AirExecutorChartOperator.template_fields) == {"job_name", "output_path"}


def test_what_cannot_be_drawn_leaves_no_directory(client, tmp_path):
    with pytest.raises(JobNotFoundError):
        draw(job_name="no-such-job", output=tmp_path / "pictures" / "chart.png")
    with pytest.raises(ChartError):
        draw(job_name="load", output=tmp_path / "pictures" / "chart.gif")
    assert not (tmp_path / "pictures").exists()
