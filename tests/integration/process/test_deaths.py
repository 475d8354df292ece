from __future__ import annotations

import os
import resource
import signal
import sys
from functools import partial
from pathlib import Path

import pytest

from air_executor.process.attempt_log import is_locked
from air_executor.process.exits import collect, reap_strangers
from air_executor.process.protocol import Ended, Started
from air_executor.process.spool import read_spool, spool_is_live
from air_executor.process.tree import AttemptTree, find_runner, tree_of
from tests.integration.process.conftest import StartServer
from tests.integration.process.serving import Serving, gone, is_alive, read_pid
from tests.support.waiting import wait_until

HIDE = str(Path(__file__).with_name("hide.py"))


def test_a_server_whose_manager_died_records_how_its_runners_end(server: Serving) -> None:
    attempt_ids = [server.launch("sh", "-c", "sleep 600 & read line < fifo; exit 4", cwd=str(server.directory))]
    os.mkfifo(server.directory / "fifo")
    server.wait_for(Started, attempt_ids[0])
    server.process.channel.close()
    assert spool_is_live(server.spool_path)
    (server.directory / "fifo").write_text("go\n")
    assert server.wait_gone() == 0
    assert not spool_is_live(server.spool_path)
    (ended,) = server.spooled(Ended)
    assert ended.exit_code == 4
    assert len(ended.killed) == 1


def test_launches_that_wait_when_the_manager_dies_are_not_started(server: Serving) -> None:
    os.kill(server.pid, signal.SIGSTOP)
    attempt_ids = [server.launch("true") for _ in range(5)]
    server.process.channel.close()
    os.kill(server.pid, signal.SIGCONT)
    assert server.wait_gone() == 0
    assert read_spool(server.spool_path) == []
    assert not any(os.path.exists(server.log_path(attempt_id)) for attempt_id in attempt_ids)


def test_a_retired_server_still_tells_its_manager(server: Serving) -> None:
    attempt_id = server.launch("sleep", "0.3")
    server.wait_for(Started, attempt_id)
    server.process.channel.finish_sending()
    assert server.wait_for(Ended, attempt_id).exit_code == 0
    assert server.wait_gone() == 0


def test_a_killed_servers_runners_are_collected_with_exit_and_resources(server: Serving) -> None:
    attempt_id = server.launch(
        "sh",
        "-c",
        "setsid sleep 600 & read line; while [ ! -e go ]; do sleep 0.01; done; exit 6",
        cwd=str(server.directory),
    )
    tree = tree_of(server.wait_for(Started, attempt_id))
    server.kill()
    assert is_locked(tree.log_path)
    assert collect(tree) is None
    (server.directory / "go").touch()
    ended = wait_until(lambda: collect(tree))
    assert ended is not None
    assert (ended.attempt_id, ended.exit_code) == (attempt_id, 6)
    assert len(ended.killed) == 1
    assert ended.cpu_s > 0
    assert not is_locked(tree.log_path)
    if tree.cgroup is not None:
        assert not os.path.exists(tree.cgroup)
    with pytest.raises(ChildProcessError):
        collect(tree)
    reap_strangers(())


def test_a_runner_nobody_recorded_is_found_and_collected(server: Serving) -> None:
    attempt_id = server.launch("sleep", "600")
    started = server.wait_for(Started, attempt_id)
    server.kill()
    unrecorded = AttemptTree(attempt_id=attempt_id, log_path=started.log_path)
    runner = find_runner(unrecorded)
    assert runner == tree_of(started).runner
    os.kill(started.pid, signal.SIGKILL)
    known = AttemptTree(attempt_id=attempt_id, log_path=started.log_path, runner=runner)
    ended = wait_until(lambda: collect(known))
    assert ended is not None
    assert ended.signal == signal.SIGKILL


def test_strangers_are_reaped_and_own_children_are_not(server: Serving, tmp_path: Path) -> None:
    attempt_id = server.launch(sys.executable, HIDE, str(tmp_path / "pid"), "stay")
    server.wait_for(Started, attempt_id)
    hidden = read_pid(tmp_path / "pid")
    server.kill()
    own = os.posix_spawn("/bin/sleep", ("sleep", "600"), {})
    os.kill(hidden, signal.SIGKILL)
    wait_until(gone(hidden))
    assert wait_until(lambda: reap_strangers({own})) == 1
    os.kill(own, signal.SIGKILL)
    wait_until(gone(own))
    assert reap_strangers({own}) == 0
    os.waitpid(own, 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_server_with_runners_ignores_polite_signals(server: Serving, number: signal.Signals) -> None:
    attempt_id = server.launch("sleep", "600")
    started = server.wait_for(Started, attempt_id)
    os.kill(server.pid, number)
    assert server.run("true").exit_code == 0
    os.kill(started.pid, signal.SIGKILL)
    server.wait_for(Ended, attempt_id)
    assert server.run("true").exit_code == 0


def test_an_idle_server_leaves_on_sigterm(server: Serving) -> None:
    server.run("true")
    os.kill(server.pid, signal.SIGTERM)
    assert server.wait_gone() == 0


def test_a_broken_message_ends_work_but_no_runner(server: Serving) -> None:
    attempt_id = server.launch("sleep", "600")
    started = server.wait_for(Started, attempt_id)
    os.write(server.process.channel.fileno(), b"nonsense\n")
    server.launch("true")
    os.kill(started.pid, signal.SIGTERM)
    assert server.wait_for(Ended, attempt_id).signal == signal.SIGTERM
    assert server.wait_gone() == 0
    assert [report.attempt_id for report in server.spooled(Started)] == [attempt_id]
    assert "broken message" in (server.directory / "servers.log").read_text()


def test_a_full_disk_loses_no_record(server: Serving) -> None:
    server.run("true")
    size = os.path.getsize(server.spool_path)
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (size + 100, resource.RLIM_INFINITY))
    attempt_ids = [server.launch("true") for _ in range(10)]
    for attempt_id in attempt_ids:
        server.wait_for(Ended, attempt_id)
    assert len(server.spooled(Ended)) == 1
    server.process.channel.close()
    # It may not leave with records that are nowhere but in its memory.
    assert is_alive(server.pid)
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert server.wait_gone() == 0
    assert {report.attempt_id for report in server.spooled(Ended)} >= set(attempt_ids)


@pytest.mark.parametrize("delay_ms", range(0, 40, 4))
def test_a_server_killed_at_any_moment_leaves_no_attempt_unexplained(start_server: StartServer, delay_ms: int) -> None:
    server = start_server()
    ledger = server.directory / "ledger"
    messages = [server.message("sh", "-c", f"echo $$ >> {ledger}; sleep 0.0{number % 3}") for number in range(40)]
    server.process.channel.send(messages)
    try:
        wait_until(lambda: False, timeout_s=delay_ms / 1000, interval_s=0.001)
    except AssertionError:
        pass
    server.kill()
    recorded_starts = {report.attempt_id: report for report in server.spooled(Started)}
    recorded_ends = {report.attempt_id for report in server.spooled(Ended)}
    assert recorded_ends <= set(recorded_starts)
    claimed = [message for message in messages if os.path.exists(message.log_path)]
    ran = [message for message in claimed if message.attempt_id in recorded_starts]
    # Everything that ran was claimed, and what was claimed but not recorded is at most one portion of launches.
    assert len(claimed) - len(ran) <= 16
    reaped_unrecorded = 0
    for message in ran:
        if message.attempt_id not in recorded_ends:
            try:
                ended = wait_until(partial(collect, tree_of(recorded_starts[message.attempt_id])))
            except ChildProcessError:
                # The server had reaped it and was killed before it wrote that down: the manager calls such an attempt lost.
                reaped_unrecorded += 1
                continue
            assert ended is not None
            assert ended.exit_code == 0
    assert reaped_unrecorded <= 16
    for message in claimed:
        wait_until(partial(is_locked, message.log_path), lambda locked: not locked)
    reap_strangers(())
    executions = ledger.read_text().split() if ledger.exists() else []
    assert len(executions) <= len(claimed)
