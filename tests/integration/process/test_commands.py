from __future__ import annotations

import os
import signal
import stat
import sys
from pathlib import Path

import psutil
import pytest

from air_executor.process.attempt_log import is_locked
from air_executor.process.identity import ProcessIdentity, is_running
from air_executor.process.protocol import MARK_VARIABLE, Ended, NotStarted, Ready, Started
from air_executor.process.runner import LOCK_FD
from tests.integration.process.serving import Serving
from tests.support.waiting import wait_until


def test_a_command_runs_with_its_arguments_environment_and_directory(server: Serving, tmp_path: Path) -> None:
    attempt_id = server.launch(
        "sh",
        "-c",
        f'echo "$0 $GREETING ${MARK_VARIABLE}"; pwd; echo oops >&2; exit 7',
        "two words",
        env={"GREETING": "hé"},
        cwd=str(tmp_path),
    )
    ended = server.wait_for(Ended, attempt_id)
    assert (ended.exit_code, ended.signal, ended.killed) == (7, None, ())
    assert server.log(attempt_id) == f"two words hé {attempt_id}\n{tmp_path}\noops\n"
    assert stat.S_IMODE(os.stat(server.log_path(attempt_id)).st_mode) == 0o600


def test_what_is_reported_is_in_the_spool(server: Serving) -> None:
    attempt_ids = [server.launch("true"), server.launch("no-such-command")]
    reports = [
        server.wait_for(Started, attempt_ids[0]),
        server.wait_for(Ended, attempt_ids[0]),
        server.wait_for(NotStarted, attempt_ids[1]),
    ]
    assert sorted(map(repr, server.spooled(Started) + server.spooled(Ended) + server.spooled(NotStarted))) == sorted(
        map(repr, reports)
    )


def test_a_started_runner_is_who_the_report_says(server: Serving) -> None:
    attempt_id = server.launch("sleep", "600")
    started = server.wait_for(Started, attempt_id)
    assert is_running(ProcessIdentity(started.pid, started.start_ticks, started.boot_id))
    assert os.getsid(started.pid) == started.pid
    assert is_locked(started.log_path)
    os.kill(started.pid, signal.SIGTERM)
    ended = server.wait_for(Ended, attempt_id)
    assert (ended.exit_code, ended.signal) == (None, signal.SIGTERM)
    assert not is_locked(started.log_path)


def test_resource_use_is_reported(server: Serving) -> None:
    program = "x = bytearray(80 * 2**20)\nimport time\nwhile time.process_time() < 0.2: pass"
    ended = server.run(sys.executable, "-c", program)
    assert ended.cpu_s >= 0.2
    assert ended.peak_memory_bytes >= 80 * 2**20


def test_a_runner_inherits_nothing_but_its_log(server: Serving) -> None:
    attempt_id = server.launch("sh", "-c", "ls -l /proc/$$/fd; :")
    server.wait_for(Ended, attempt_id)
    links = [line.split()[-3:] for line in server.log(attempt_id).splitlines() if "->" in line]
    descriptors = {number: target for number, _, target in links}
    log_path = server.log_path(attempt_id)
    assert descriptors == {"0": "/dev/null", "1": log_path, "2": log_path, str(LOCK_FD): log_path}


def test_a_runner_has_default_signals(server: Serving) -> None:
    attempt_id = server.launch("grep", "^Sig\\(Blk\\|Ign\\)", "/proc/self/status")
    server.wait_for(Ended, attempt_id)
    # The two above 31 are the C library's own, which it ignores in whatever it spawns.
    ordinary_signals = 2**31 - 1
    masks = [int(line.split()[1], 16) for line in server.log(attempt_id).splitlines()]
    assert [mask & ordinary_signals for mask in masks] == [0, 0]


def test_a_runner_that_redirects_its_output_keeps_the_lock(server: Serving) -> None:
    attempt_id = server.launch("sh", "-c", "echo here; exec sleep 600 >/dev/null 2>&1")
    started = server.wait_for(Started, attempt_id)
    wait_until(lambda: psutil.Process(started.pid).name(), lambda name: name == "sleep")
    assert is_locked(started.log_path)
    os.kill(started.pid, signal.SIGKILL)
    assert server.wait_for(Ended, attempt_id).signal == signal.SIGKILL


@pytest.mark.parametrize(
    ("command", "fields", "expected"),
    [
        ("no-such-command", {}, "command not found: no-such-command"),
        ("", {}, "command not found"),
        ("./no-such-file", {}, "command not found: ./no-such-file"),
        ("/etc/passwd", {}, "/etc/passwd may not be executed"),
        ("/", {}, "/ may not be executed"),
        ("true", {"cwd": "/no/such/directory"}, "/no/such/directory cannot be used: No such file"),
        ("true", {"cwd": "/etc/passwd"}, "/etc/passwd cannot be used: Not a directory"),
        ("tru\0e", {}, "hold what no process can get"),
        ("true", {"env": {"A=B": "x"}}, "environment"),
    ],
)
def test_what_cannot_be_started_is_explained(
    server: Serving, command: str, fields: dict[str, object], expected: str
) -> None:
    attempt_id = server.launch(command, **fields)
    refusal = server.wait_for(NotStarted, attempt_id)
    assert expected in refusal.error
    assert not refusal.already_claimed
    assert expected in server.log(attempt_id)
    assert not is_locked(server.log_path(attempt_id))
    assert server.run("true").exit_code == 0


def test_a_script_with_a_missing_interpreter_is_explained(server: Serving, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    refusal = server.wait_for(NotStarted, server.launch(str(script)))
    assert "interpreter in its first line that does not exist" in refusal.error


def test_the_command_is_found_on_the_path_of_the_task(server: Serving, tmp_path: Path) -> None:
    script = tmp_path / "only-here"
    script.write_text("#!/bin/sh\nexit 5\n")
    script.chmod(0o755)
    assert server.run("only-here", env={"PATH": f"{tmp_path}:/usr/bin:/bin"}).exit_code == 5
    assert server.run("./only-here", cwd=str(tmp_path)).exit_code == 5
    assert "PATH is /nowhere" in server.wait_for(NotStarted, server.launch("sleep", env={"PATH": "/nowhere"})).error


def test_an_attempt_is_claimed_once(server: Serving) -> None:
    first = server.message("true")
    server.process.channel.send([first])
    server.wait_for(Ended, first.attempt_id)
    server.process.channel.send([first])
    assert server.wait_for(NotStarted, first.attempt_id).already_claimed
    assert server.spooled(NotStarted) == []


def test_a_log_that_cannot_be_created_is_no_claim(server: Serving, tmp_path: Path) -> None:
    (tmp_path / "link.log").symlink_to(tmp_path / "target")
    for path, expected in [
        (tmp_path / "missing" / "a.log", "No such file or directory"),
        (tmp_path / "link.log", "not a regular file"),
    ]:
        refusal = server.wait_for(NotStarted, server.launch("true", log_path=str(path)))
        assert not refusal.already_claimed
        assert expected in refusal.error
    assert not (tmp_path / "target").exists()


def test_too_long_arguments_are_explained(server: Serving) -> None:
    refusal = server.wait_for(NotStarted, server.launch("true", "x" * 4_000_000))
    assert "too long for this kernel" in refusal.error


def test_ready_tells_pid_and_loading_time(server: Serving) -> None:
    ready = server.wait_for(Ready)
    assert ready.pid == server.pid
    assert 0 < ready.seconds < 60
