"""The metrics of a real manager, as Prometheus reads them."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import sys
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

pytest.importorskip("prometheus_client", reason="the extra `metrics` is not installed")

from prometheus_client.parser import text_string_to_metric_families

from tests.support.jobs import task
from tests.support.manager import ManagedRoot, shell
from tests.support.ports import free_port
from tests.support.waiting import wait_until

Samples = dict[tuple[str, tuple[str, ...]], float]


def scrape(port: int) -> Samples:
    """Return all samples by name and label values."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as response:
        text = response.read().decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {(each.name.removeprefix("air_executor_"), tuple(each.labels.values())): each.value for each in samples}


def await_sample(port: int, name: str, label: str, value: float) -> Samples:
    """Wait until a sample has this value, and return all of them."""
    key = (name, (label,) if label else ())

    def observe() -> Samples:
        with contextlib.suppress(URLError):
            return scrape(port)
        return {}

    return wait_until(observe, lambda seen: seen.get(key) == value, what=f"{name} {value}")


def test_what_happens_is_counted(managed: ManagedRoot) -> None:
    port = free_port()
    managed.start(slots=3, metrics_port=port)
    managed.submit("good", task("a"), task("b", "a"))
    managed.submit("bad", task("no-such-program", command="/no/such/program"), shell("x", "exit 3", retries=1))
    managed.submit("long", *(shell(f"t{n}", "sleep 1000") for n in range(5)))
    for name in ("good", "bad"):
        managed.wait_for(name)
    seen = await_sample(port, "tasks", "running", 3)
    assert seen["slots", ()] == seen["attempts_running", ()] == 3
    assert seen["jobs", ("working",)] == 1
    assert seen["tasks", ("pending",)] == 2
    assert seen["jobs_taken_total", ()] == 3
    assert seen["jobs_ended_total", ("completed",)] == seen["jobs_ended_total", ("failed",)] == 1
    assert seen["launches_total", ("command",)] == 2 + 1 + 2 + 3
    assert seen["attempts_ended_total", ("completed",)] == 2
    assert seen["attempts_ended_total", ("failed",)] == 2
    assert seen["attempts_ended_total", ("not_started",)] == 1
    assert seen["retries_total", ()] == 1
    assert seen["queue_wait_seconds_count", ()] == 7
    assert seen["run_seconds_count", ("command",)] == 4
    assert seen["fork_servers", ("command", "ready")] == 1
    assert seen["journal_flush_seconds_count", ()] > 0
    assert seen["loop_delay_seconds_count", ()] > 0
    if sys.platform == "linux":
        assert seen["manager_process_resident_memory_bytes", ()] > 1e6
    managed.stop()
    managed.start(slots=3, metrics_port=port)
    adopted = await_sample(port, "adoptions_total", "", 3)
    assert adopted["launches_total", ("command",)] == 0
    managed.client.cancel("long")
    managed.wait_for("long")
    ended = await_sample(port, "jobs_ended_total", "cancelled", 1)
    assert ended["tasks", ("running",)] == 0
    text = urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30).read().decode()
    assert str(managed.root.path) not in text
    assert "no-such-program" not in text


def test_a_port_that_is_taken_keeps_no_job_from_running(managed: ManagedRoot) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        managed.start(metrics_port=taken.getsockname()[1])
        wait_until(managed.log, lambda log: "no metrics:" in log and "all else goes on" in log, what="the complaint")
        managed.submit("j", task("a"))
        assert managed.wait_for("j")["state"] == "completed"


def test_without_the_package_jobs_run_all_the_same(managed: ManagedRoot, tmp_path: Path) -> None:
    hidden = tmp_path / "hidden" / "prometheus_client"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text("raise ImportError('hidden', name='prometheus_client')")
    managed.start(env={"PYTHONPATH": f"{hidden.parent}:{':'.join(sys.path)}"}, metrics_port=free_port())
    wait_until(managed.log, lambda log: "no metrics: prometheus_client is not installed" in log, what="the complaint")
    managed.submit("j", task("a"))
    assert managed.wait_for("j")["state"] == "completed"


def test_settings_open_and_close_it_while_the_manager_runs(managed: ManagedRoot) -> None:
    port = free_port()
    settings = managed.root.path / "settings.json"
    managed.start()
    settings.write_text(json.dumps({"metrics_port": port}))
    managed.process.send_signal(signal.SIGHUP)
    status = wait_until(
        managed.client.manager_status, lambda each: each is not None and each.metrics_url, what="an endpoint"
    )
    assert status.metrics_url == f"http://127.0.0.1:{port}/metrics"
    assert scrape(port)["slots", ()] == 32
    settings.write_text("{}")
    managed.process.send_signal(signal.SIGHUP)
    wait_until(
        managed.client.manager_status, lambda each: each is not None and not each.metrics_url, what="no endpoint"
    )
    with pytest.raises(OSError):
        scrape(port)
