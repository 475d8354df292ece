from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path

import pytest

from air_executor.process.attempt_log import is_locked
from air_executor.process.protocol import Ended, Started
from air_executor.process.sweep import kill_all
from air_executor.process.tree import find_processes, find_runner, memory_of, signal_tree, tree_of
from tests.integration.process.serving import Serving, gone, is_alive, read_pid
from tests.support.waiting import wait_until

HIDE = str(Path(__file__).with_name("hide.py"))


def test_what_is_left_in_session_or_out_of_it_is_ended_and_named(server: Serving) -> None:
    ended = server.run("sh", "-c", "sleep 600 & setsid sleep 601 & (setsid sleep 602 >/dev/null 2>&1 &) ; exit 3")
    assert ended.exit_code == 3
    assert len(ended.killed) == 3
    pids = [int(re.fullmatch(r"\S+ \((\d+)\)", label).group(1)) for label in ended.killed]  # type: ignore[union-attr]
    for pid in pids:
        wait_until(gone(pid))


def test_a_daemon_that_hides_is_ended(server: Serving, tmp_path: Path) -> None:
    pid_file = tmp_path / "hidden.pid"
    assert server.run(sys.executable, HIDE, str(pid_file)).exit_code == 0
    wait_until(gone(read_pid(pid_file)))
    wait_until(server.children, lambda children: not children)


def test_a_hidden_daemon_of_a_running_attempt_is_left_alone_when_a_neighbour_ends(
    server: Serving, tmp_path: Path
) -> None:
    pid_file = tmp_path / "hidden.pid"
    attempt_id = server.launch(sys.executable, HIDE, str(pid_file), "stay")
    hidden = read_pid(pid_file)
    assert server.run("true").killed == ()
    assert is_alive(hidden)
    kill_all(tree_of(server.wait_for(Started, attempt_id)))
    assert server.wait_for(Ended, attempt_id).signal == signal.SIGKILL
    wait_until(gone(hidden))


def test_a_storm_of_forks_is_ended(server: Serving) -> None:
    ended = server.run("sh", "-c", 'trap "" TERM HUP INT; for i in $(seq 200); do (setsid sleep 600 &) ; done')
    assert ended.exit_code == 0
    assert len(ended.killed) == 21
    assert re.fullmatch(r"and \d+ more", ended.killed[-1])
    wait_until(server.children, lambda children: not children)


def test_processes_that_fork_for_ever_are_ended(server: Serving) -> None:
    chain = "import os, time\nwhile True:\n    if os.fork(): os._exit(0)\n    os.setsid(); time.sleep(0.002)"
    attempt_id = server.launch(sys.executable, "-S", "-c", f"import os\nif os.fork(): os._exit(0)\n{chain}")
    ended = server.wait_for(Ended, attempt_id)
    assert ended.exit_code == 0
    wait_until(server.children, lambda children: not children)
    assert not is_locked(server.log_path(attempt_id))


def test_kept_processes_are_kept_and_do_not_disturb_others(server: Serving, tmp_path: Path) -> None:
    pid_file, hidden_file = tmp_path / "kept.pid", tmp_path / "hidden.pid"
    command = f"setsid sleep 600 & echo $! > {pid_file}; exec {sys.executable} {HIDE} {hidden_file}"
    ended = server.run("sh", "-c", command, keep_processes=True)
    assert ended.killed == ()
    kept = [read_pid(pid_file), read_pid(hidden_file)]
    for _ in range(5):
        assert server.run("true").killed == ()
    assert len(server.run("sh", "-c", "sleep 600 &").killed) == 1
    assert all(is_alive(pid) for pid in kept)
    server.process.channel.finish_sending()
    assert server.wait_gone() == 0
    assert all(is_alive(pid) for pid in kept)


def test_one_who_only_reads_the_log_is_not_of_the_tree(server: Serving) -> None:
    attempt_id = server.launch("sh", "-c", "sleep 600 & wait")
    started = server.wait_for(Started, attempt_id)
    reader = os.posix_spawn("/usr/bin/tail", ("tail", "-f", started.log_path), {})
    tree = tree_of(started)
    wait_until(lambda: {stat.name for stat in find_processes(tree)}, lambda names: names == {"sh", "sleep"})
    kill_all(tree)
    assert server.wait_for(Ended, attempt_id).signal == signal.SIGKILL
    assert is_alive(reader)


def test_a_tree_can_be_asked_to_end_and_measured(server: Serving) -> None:
    # Kept: else the fork server ends what is left as soon as the first has gone, before it is asked.
    attempt_id = server.launch("sh", "-c", "sleep 600 & setsid sleep 601 & wait", keep_processes=True)
    tree = tree_of(server.wait_for(Started, attempt_id))
    wait_until(
        lambda: [stat.name for stat in find_processes(tree)], lambda names: sorted(names) == ["sh", "sleep", "sleep"]
    )
    assert find_runner(tree) == tree.runner
    assert memory_of([tree])[attempt_id] > 100_000
    assert len(signal_tree(tree)) == 3
    assert server.wait_for(Ended, attempt_id).signal == signal.SIGTERM
    wait_until(lambda: find_processes(tree), lambda left: left == [])
    assert memory_of([tree]) == {attempt_id: 0}


@pytest.mark.parametrize("with_runner", [True, False])
def test_a_tree_is_found_by_its_traces_alone(server: Serving, with_runner: bool) -> None:
    attempt_id = server.launch("sh", "-c", "setsid sleep 600 & wait")
    started = server.wait_for(Started, attempt_id)
    tree = tree_of(started)
    wait_until(lambda: len(find_processes(tree)), lambda count: count == 2)
    known = type(tree)(
        attempt_id=attempt_id, log_path=tree.log_path, runner=tree.runner if with_runner else None, cgroup=None
    )
    assert [stat.pid for stat in find_processes(known)] == [stat.pid for stat in find_processes(tree)]
    runner = find_runner(known)
    assert runner is not None
    assert runner.pid == started.pid
    assert len(kill_all(known)) == 2
    assert server.wait_for(Ended, attempt_id).signal == signal.SIGKILL


def test_a_recycled_runner_pid_makes_nobody_a_member(server: Serving) -> None:
    attempt_id = server.launch("sleep", "600")
    started = server.wait_for(Started, attempt_id)
    earlier = Started(
        attempt_id="another/1/1",
        pid=started.pid,
        start_ticks=started.start_ticks - 1,
        boot_id=started.boot_id,
        at=started.at,
        log_path="/no/such/log",
    )
    assert find_processes(tree_of(earlier)) == []
    assert kill_all(tree_of(earlier)) == ()
    assert is_alive(started.pid)


def test_the_cgroup_of_kept_processes_goes_when_they_have_ended(server: Serving, tmp_path: Path) -> None:
    attempt_id = server.launch("sh", "-c", f"setsid sleep 600 & echo $! > {tmp_path}/pid", keep_processes=True)
    started = server.wait_for(Started, attempt_id)
    server.wait_for(Ended, attempt_id)
    if started.cgroup is None:
        pytest.skip("without cgroups there is nothing to remove")
    kept = read_pid(tmp_path / "pid")
    assert Path(started.cgroup).exists()
    os.kill(kept, signal.SIGKILL)

    def is_removed_after_another_task() -> bool:
        server.run("true")
        return not Path(started.cgroup or "").exists()

    wait_until(is_removed_after_another_task, interval_s=0.1)
