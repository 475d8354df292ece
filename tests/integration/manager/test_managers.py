"""One manager a root, its settings, and finding what no event tells of."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from air_executor.core.specs import JobSpec
from air_executor.store.requests import CancelJob, send_request
from air_executor.store.submission import submit_job
from tests.support.jobs import task
from tests.support.manager import REPOSITORY, ManagedRoot, is_alive
from tests.support.waiting import wait_until


def command(managed: ManagedRoot, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `air-executor manager ...` on this root."""
    return subprocess.run(
        [sys.executable, "-m", "air_executor.cli.main", "manager", *words, f"--base-path={managed.root.path}"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONWARNINGS": "error"},
    )


def test_a_second_manager_is_refused(managed: ManagedRoot) -> None:
    pid = managed.start()
    second = command(managed, "run")
    assert second.returncode == 5
    assert f"a manager (pid {pid}) runs on {managed.root.path} already" in second.stderr
    assert "Traceback" not in second.stderr
    managed.submit("j", task("a"))
    assert managed.wait_for("j")["state"] == "completed"


def test_of_many_started_at_once_one_stays(managed: ManagedRoot) -> None:
    processes = [managed.spawn() for _ in range(12)]
    try:
        wait_until(
            lambda: [each.poll() for each in processes],
            lambda codes: sum(code is None for code in codes) == 1,
            what="one manager that stays",
        )
        assert sorted(each.returncode or 0 for each in processes) == [0, *[5] * 11]
        managed.submit("j", task("a"))
        assert managed.wait_for("j")["state"] == "completed"
    finally:
        for each in processes:
            if each.poll() is None:
                each.terminate()
            each.wait()


def test_start_status_reload_and_stop(managed: ManagedRoot) -> None:
    assert command(managed, "status").returncode == 1
    started = command(managed, "start", "--slots=3", "--rescan=0.2")
    assert started.returncode == 0, started.stderr
    assert "manager started (pid " in started.stdout
    assert "manager runs already" in command(managed, "start").stdout
    status = wait_until(lambda: json.loads(command(managed, "status", "--json").stdout or "null"), what="a status")
    assert (status["slots"], status["running"]) == (3, 0)
    assert command(managed, "reload").returncode == 0
    stopped = command(managed, "stop", "--timeout=30")
    assert stopped.returncode == 0, stopped.stderr
    # It gives the root back first, and is gone a moment later.
    wait_until(lambda: is_alive(status["pid"]), lambda alive: not alive, what="the manager to be gone")
    assert command(managed, "stop").returncode == 1
    assert not managed.root.manager_pid.exists()


def test_reload_reads_the_settings_again(managed: ManagedRoot) -> None:
    settings = managed.root.path / "settings.json"
    settings.write_text('{"slots": 1}')
    managed.start()
    managed.submit("wide", *(managed.ledger_task(f"t{n}", script="sleep 1000") for n in range(3)))
    managed.wait_for_line("start")
    settings.write_text('{"slots": 0}')
    managed.process.send_signal(signal.SIGHUP)
    wait_until(managed.log, lambda log: "the settings were not changed" in log and "slots" in log, what="a refusal")
    settings.write_text('{"slots": 3}')
    managed.process.send_signal(signal.SIGHUP)
    wait_until(lambda: len(managed.lines()), lambda count: count == 3, what="three tasks that run")
    managed.client.cancel("wide")
    managed.wait_for("wide")


def test_a_manager_with_settings_that_it_cannot_have_does_not_start(managed: ManagedRoot) -> None:
    (managed.root.path / "settings.json").write_text('{"slotz": 1}')
    process = managed.spawn()
    assert process.wait(60) == 5
    managed.process = None
    assert "slotz" in managed.output.read_text()
    assert "Traceback" not in managed.output.read_text()


def test_without_file_events_everything_is_found_by_looking(managed: ManagedRoot) -> None:
    managed.start(wrapper=("-m", "tests.integration.manager.without_events"))
    wait_until(lambda: "file events are not available" in managed.log(), what="the warning")
    managed.submit("one", task("a"), is_open=True)
    managed.wait_for("one", "working")
    managed.client.queue("one", [task("b")])
    managed.client.close("one")
    assert managed.wait_for("one")["state"] == "completed"
    assert len(managed.tasks("one")) == 2


def test_what_came_while_the_manager_was_stopped_is_found(managed: ManagedRoot) -> None:
    managed.start(slots=64, view_interval=0.5)
    managed.process.send_signal(signal.SIGSTOP)
    names = [f"job-{n:04d}" for n in range(2000)]
    try:
        for name in names:
            spec = JobSpec(name=name, tasks=(task("a"),))
            submit_job(managed.root, spec)
            # Most are cancelled: what counts is that each is found, and 2,000 processes take their time.
            if not name.endswith("0"):
                send_request(managed.root, CancelJob(job=name), durable=False)
    finally:
        managed.process.send_signal(signal.SIGCONT)
    states: dict[str, str] = {}

    def missing() -> list[str]:
        for name in names:
            if name not in states:
                state = managed.state(name)["state"]
                if state in ("completed", "cancelled"):
                    states[name] = state
        return [name for name in names if name not in states]

    wait_until(missing, lambda left: not left, timeout_s=120, interval_s=0.3, what="the end of 2,000 jobs")
    assert sorted(states) == names
    assert {states[name] for name in names if name.endswith("0")} == {"completed"}


def test_a_removed_inbox_is_no_end(managed: ManagedRoot) -> None:
    managed.start()
    shutil.rmtree(managed.root.requests)
    shutil.rmtree(managed.root.tmp)
    os.mkdir(managed.root.tmp, 0o700)
    os.mkdir(managed.root.requests, 0o700)
    managed.submit("j", task("a"), is_open=True)
    managed.wait_for("j", "working")
    managed.client.close("j")
    assert managed.wait_for("j")["state"] == "completed"


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of 3 MiB that only root can make."""
    path = tmp_path / "disk"
    path.mkdir(mode=0o700)
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m,mode=0700", "tmpfs", path], capture_output=True)
    if made.returncode:
        pytest.skip("no file system can be mounted here")
    yield path
    subprocess.run(["umount", "--lazy", path], check=True)


def fill(path: Path) -> None:
    """Write until nothing more fits."""
    with contextlib.suppress(OSError), open(path, "ab", buffering=0) as file:
        for size in (65536, 4096, 64, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"x" * size)


def test_a_full_disk_stops_nothing_for_good(small_disk: Path) -> None:
    managed = ManagedRoot(small_disk / "root")
    managed.ledger = small_disk.parent / "ledger"
    managed.output = small_disk.parent / "manager.out"
    gate = small_disk.parent / "gate"
    try:
        managed.start(slots=4)
        wait = f"until test -e {gate}; do sleep 0.02; done"
        managed.submit(
            "full", *(managed.ledger_task(f"t{n}", script=wait) for n in range(4)), managed.ledger_task("z", "t0")
        )
        wait_until(lambda: len(managed.lines()), lambda count: count == 4, what="four tasks that run")
        managed.wait_for_task("full", "t3", lambda seen: seen["status"] == "running", "a view that says so")
        fill(small_disk / "ballast")
        with pytest.raises(Exception, match="No space left"):
            managed.submit("refused", task("a"), max_parallel=1)
        gate.touch()
        wait_until(lambda: len(managed.lines()), lambda count: count >= 8, what="tasks that end on a full disk")
        wait_until(
            lambda: managed.output.read_text(), lambda text: os.strerror(errno.ENOSPC) in text, what="the complaint"
        )
        for name in ("state.json", "tasks.json"):
            json.loads((managed.root.job("full") / name).read_text())
        (small_disk / "ballast").unlink()
        assert managed.wait_for("full")["state"] == "completed"
        assert sorted(line[2] for line in managed.lines() if line[0] == "start") == ["t0", "t1", "t2", "t3", "z"]
        assert not managed.root.job("refused").exists()
        assert [path for path in managed.root.path.rglob("*.json") if path.stat().st_size == 0] == []
        managed.submit("after", task("a"))
        assert managed.wait_for("after")["state"] == "completed"
    finally:
        managed.clean_up()
