"""What a warm parent says of what it has loaded."""

from __future__ import annotations

import threading

import pytest

from air_executor.airflow import preload


@pytest.fixture
def run_beside(monkeypatch):
    """Have threads of these names, and so many more of libraries."""

    def run(*names, native=0):
        threads = [threading.main_thread(), *(threading.Thread(name=name) for name in names)]
        monkeypatch.setattr(threading, "enumerate", lambda: threads)
        monkeypatch.setattr(preload, "count_threads", lambda: len(threads) + native)

    return run


def test_threads_that_forks_would_miss_are_told(run_beside, capsys):
    run_beside("OtelBatchSpanRecordProcessor", "poller")
    preload._report_threads()
    said = capsys.readouterr().err
    assert "other threads (poller)" in said
    assert "preload_listeners = False" in said


def test_threads_of_libraries_are_told(run_beside, capsys):
    run_beside(native=2)
    preload._report_threads()
    assert "other threads (of libraries)" in capsys.readouterr().err


@pytest.mark.parametrize("native", [0, 6])
def test_threads_of_open_telemetry_start_anew_in_forks_and_are_not_told(run_beside, capsys, native):
    run_beside("OtelPeriodicExportingMetricReader", native=native)
    preload._report_threads()
    assert capsys.readouterr().err == ""


def test_nothing_is_told_where_there_is_no_other_thread(run_beside, capsys):
    run_beside()
    preload._report_threads()
    assert capsys.readouterr().err == ""
