"""What a warm parent says of what it has loaded."""

from __future__ import annotations

import threading
from contextlib import contextmanager

from air_executor.airflow import preload


@contextmanager
def running(name):
    event = threading.Event()
    thread = threading.Thread(target=event.wait, name=name)
    thread.start()
    try:
        yield
    finally:
        event.set()
        thread.join()


def test_threads_that_forks_would_miss_are_told(capsys):
    with running("OtelBatchSpanRecordProcessor"), running("poller"):
        preload._report_threads()
    said = capsys.readouterr().err
    assert "other threads (poller)" in said
    assert "preload_listeners = False" in said


def test_threads_of_open_telemetry_start_anew_in_forks_and_are_not_told(capsys):
    with running("OtelPeriodicExportingMetricReader"):
        preload._report_threads()
    assert capsys.readouterr().err == ""
