"""Templates: forks of a fork server that have prepared something, and fork the runners that need it."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from air_executor.process.attempt_log import is_locked
from air_executor.process.cgroup import own_cgroup_directory
from air_executor.process.fork_runner import NEVER_BEGUN
from air_executor.process.protocol import Ended, NotStarted, Started
from tests.integration.process.conftest import REPOSITORY, StartServer
from tests.integration.process.serving import Serving, gone, is_alive
from tests.support.waiting import wait_until

StartTemplates = Callable[..., Serving]


@pytest.fixture
def start_templates(start_server: StartServer, monkeypatch: pytest.MonkeyPatch) -> StartTemplates:
    def start(**variables: str) -> Serving:
        monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return start_server([sys.executable, "-m", "tests.integration.process.forking_server", "--templates"])

    return start


@pytest.fixture
def serving(start_templates: StartTemplates) -> Serving:
    return start_templates()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "prepared.txt", "hello")


def write(path: Path, text: str) -> Path:
    aside = path.with_suffix(".new")
    aside.write_text(text)
    return aside.replace(path)


def prepared_by(path: Path) -> list[int]:
    """Return the pids of the processes that have prepared a file."""
    record = Path(f"{path}.prepared")
    return [int(line) for line in record.read_text().split()] if record.exists() else []


def look(serving: Serving, path: Path, **env: str) -> list[str]:
    """Run a task and return what it saw: what was prepared, and by whom."""
    attempt_id = serving.launch("prepared", env={"TEMPLATE": str(path), **env})
    assert serving.wait_for(Ended, attempt_id).exit_code == 0
    return serving.log(attempt_id).split()


def test_runners_find_what_their_template_prepared(serving: Serving, file: Path) -> None:
    seen = [look(serving, file) for _ in range(3)]
    assert [words[0] for words in seen] == ["hello"] * 3
    assert [int(words[1]) for words in seen] == prepared_by(file) * 3


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("message", ["Forked", "Settled", "RunnerEnded", "RunnerReaped"])
def test_a_template_may_die_at_any_step(
    start_templates: StartTemplates, file: Path, tmp_path: Path, moment: str, message: str
) -> None:
    mark = tmp_path / "died"
    serving = start_templates(TEMPLATE_DIES=f"{moment} {message}", TEMPLATE_DIED=str(mark))
    attempt_id = serving.launch("run once", str(tmp_path / "runs"), env={"TEMPLATE": str(file)})
    ended = serving.wait_for(Ended, attempt_id)
    runs = (tmp_path / "runs").read_text() if (tmp_path / "runs").exists() else ""
    if (moment, message) == ("after", "Forked"):
        # The gate of its runner was never opened.
        assert (ended.exit_code, runs) == (NEVER_BEGUN, "")
    else:
        assert (ended.exit_code, runs) == (5, "ran\n")
    assert mark.exists()
    serving.process.channel.finish_sending()
    assert serving.wait_gone() == 0
    assert [report for report in serving.reports if isinstance(report, Ended)] == [ended]


def test_what_a_runner_has_used_is_told(serving: Serving, file: Path) -> None:
    ended = serving.run("burn", env={"TEMPLATE": str(file)})
    assert ended.cpu_s > 0.05
    assert ended.peak_memory_bytes > 1024 * 1024


def test_other_launches_start_without(serving: Serving, file: Path) -> None:
    look(serving, file)
    attempt_id = serving.launch("prepared")
    serving.wait_for(Ended, attempt_id)
    assert serving.log(attempt_id).split()[0] == "nothing"
    assert look(serving, file, SUITS="no")[0] == "nothing"


def test_a_burst_waits_for_one_preparation(serving: Serving, tmp_path: Path) -> None:
    path = write(tmp_path / "slow.txt", "slow")
    messages = [serving.message("prepared", env={"TEMPLATE": str(path)}) for _ in range(20)]
    serving.process.channel.send(messages)
    # Nobody else waits for it.
    assert serving.run("return", "3").exit_code == 3
    assert not [report for report in serving.reports if isinstance(report, Started)][1:]
    for message in messages:
        serving.wait_for(Ended, message.attempt_id)
    assert {serving.log(message.attempt_id).split()[0] for message in messages} == {"slow"}
    assert len(prepared_by(path)) == 1


def test_what_has_changed_is_prepared_anew(serving: Serving, file: Path) -> None:
    assert look(serving, file)[0] == "hello"
    first = prepared_by(file)[0]
    write(file, "goodbye")
    assert look(serving, file)[0] == "goodbye"
    wait_until(gone(first))
    write(file, "refuse")
    assert look(serving, file)[0] == "nothing"
    write(file, "once more")
    assert look(serving, file)[:1] == ["once"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("refuse", "it says so"),
        ("die", "its preparation ended the process"),
        ("hang", "its preparation takes more than 1.5 s"),
        ("leave", "it leaves a process"),
    ],
)
def test_where_there_can_be_none_runners_start_without(
    serving: Serving, tmp_path: Path, text: str, reason: str
) -> None:
    path = write(tmp_path / "bad.txt", text)
    assert look(serving, path)[0] == "nothing"
    # Known from then on.
    assert look(serving, path)[0] == "nothing"
    assert len(prepared_by(path)) == 1
    assert f"standing {path} {reason}" in (serving.directory / "servers.log").read_text()
    # But for the runner that waits for the next launch.
    wait_until(lambda: len(serving.children()), lambda count: count == 1, what="its end")
    assert not [process for process in psutil.process_iter() if _command(process) == ["sleep", "654"]]


@pytest.mark.parametrize(
    ("text", "age_s", "preparations", "reason"),
    [
        ("slow", "0.3", [1, 1, 1], "its preparation takes longer than a template may live, 0.3 s"),
        # Once may be chance.
        ("change", "60", [1, 2, 2], "what it reads changes while it is prepared"),
        ("refuse, change", "60", [1, 2, 2], "it says so"),
    ],
)
def test_a_launch_waits_once_and_few_do_where_templates_are_over_when_they_are_ready(
    start_templates: StartTemplates, tmp_path: Path, text: str, age_s: str, preparations: list[int], reason: str
) -> None:
    serving = start_templates(TEMPLATE_AGE=age_s)
    path = write(tmp_path / "bad.txt", text)
    for count in preparations:
        assert look(serving, path)[0] == "nothing"
        assert len(prepared_by(path)) == count
    assert f"standing {path} {reason}" in (serving.directory / "servers.log").read_text()


def test_what_changed_while_it_was_prepared_once_is_prepared_again(serving: Serving, file: Path) -> None:
    write(file, "change")
    assert look(serving, file)[0] == "nothing"
    write(file, "hello")
    assert look(serving, file)[0] == "hello"


def test_a_template_that_dies_before_it_serves_is_not_made_for_each_launch(
    start_templates: StartTemplates, file: Path, tmp_path: Path
) -> None:
    serving = start_templates(TEMPLATE_DIES="after Prepared", TEMPLATE_DIED=str(tmp_path / "died"))
    assert [look(serving, file)[0] for _ in range(2)] == ["nothing"] * 2
    assert len(prepared_by(file)) == 1
    assert f"standing {file} it ended before it had served" in (serving.directory / "servers.log").read_text()


def test_a_template_goes_when_it_is_old(start_templates: StartTemplates, file: Path) -> None:
    serving = start_templates(TEMPLATE_AGE="0.5")
    look(serving, file)
    wait_until(gone(prepared_by(file)[0]))
    assert look(serving, file)[0] == "hello"
    assert len(prepared_by(file)) == 2


def test_its_successor_is_prepared_with_no_launch_that_waits_for_it(
    start_templates: StartTemplates, file: Path
) -> None:
    serving = start_templates(TEMPLATE_AGE="8")
    look(serving, file)
    first = prepared_by(file)[0]
    time.sleep(5)
    assert int(look(serving, file)[1]) == first
    # It takes over, and sends the first one away, without a launch.
    wait_until(gone(first))
    assert prepared_by(file) == [first, int(look(serving, file)[1])]


def test_its_successor_is_prepared_while_it_serves(start_templates: StartTemplates, file: Path) -> None:
    serving = start_templates(TEMPLATE_AGE="4")
    look(serving, file)
    first = prepared_by(file)[0]
    wait_until(lambda: int(look(serving, file)[1]), lambda pid: pid != first, timeout_s=10)
    wait_until(gone(first))


def test_the_one_that_was_not_used_for_longest_makes_room(serving: Serving, tmp_path: Path) -> None:
    files = [write(tmp_path / f"{number}.txt", str(number)) for number in range(3)]
    for path in (files[0], files[1]):
        look(serving, path)
    # Both were used just now.
    assert look(serving, files[2])[0] == "nothing"
    assert prepared_by(files[2]) == []

    def look_at_others() -> str:
        look(serving, files[0])
        return look(serving, files[2])[0]

    wait_until(look_at_others, lambda word: word == "2")
    wait_until(gone(prepared_by(files[1])[0]))
    assert is_alive(prepared_by(files[0])[0])
    assert is_alive(prepared_by(files[2])[0])


def test_the_whole_tree_of_a_runner_is_ended_and_its_template_is_not(serving: Serving, file: Path) -> None:
    attempt_id = serving.launch("spawn", "sh", "-c", "setsid sleep 600 & echo $!", env={"TEMPLATE": str(file)})
    assert serving.wait_for(Ended, attempt_id).killed
    assert not is_alive(int(serving.log(attempt_id)))
    assert is_alive(prepared_by(file)[0])
    assert look(serving, file)[0] == "hello"


def test_runners_of_a_template_have_cgroups_of_their_own(serving: Serving, file: Path, use_cgroups: bool) -> None:
    look(serving, file)
    first = serving.launch("spawn", "sleep", "600", env={"TEMPLATE": str(file)})
    second = serving.launch("spawn", "sleep", "600", env={"TEMPLATE": str(file)})
    started = [serving.wait_for(Started, attempt_id) for attempt_id in (first, second)]
    template = prepared_by(file)[0]
    for each in started:
        inside = Path(each.cgroup, "cgroup.procs").read_text().split() if each.cgroup else [str(each.pid)]
        assert str(each.pid) in inside
        assert str(template) not in inside
    assert (started[0].cgroup != started[1].cgroup) == use_cgroups
    for each in started:
        os.kill(each.pid, signal.SIGKILL)
        assert serving.wait_for(Ended, each.attempt_id).signal == signal.SIGKILL


def test_runners_that_start_without_hold_no_connection_to_a_template(serving: Serving, file: Path) -> None:
    look(serving, file)
    attempt_id = serving.launch("descriptors")
    serving.wait_for(Ended, attempt_id)
    assert is_alive(prepared_by(file)[0])
    assert "socket" not in serving.log(attempt_id)


@pytest.mark.parametrize("is_killed", [False, True])
def test_the_cgroups_of_a_template_go_with_its_last_runner(serving: Serving, file: Path, is_killed: bool) -> None:
    attempt_id = serving.launch("spawn", "sleep", "600", env={"TEMPLATE": str(file)})
    started = serving.wait_for(Started, attempt_id)
    if started.cgroup is None:
        pytest.skip("no cgroups")
    template = prepared_by(file)[0]
    if is_killed:
        os.kill(template, signal.SIGKILL)
    else:
        write(file, "goodbye")
        look(serving, file)
    wait_until(gone(template))
    # The one in which it sat is gone, that of the runner is not.
    parent = Path(started.cgroup).parent
    wait_until(lambda: [each.name for each in parent.iterdir() if each.is_dir()], lambda names: names == ["1"])
    os.kill(started.pid, signal.SIGKILL)
    serving.wait_for(Ended, attempt_id)
    wait_until(parent.exists, lambda exists: not exists)


def test_a_runner_outlives_its_template(serving: Serving, file: Path) -> None:
    attempt_id = serving.launch("spawn", "sleep", "600", env={"TEMPLATE": str(file)})
    started = serving.wait_for(Started, attempt_id)
    os.kill(prepared_by(file)[0], signal.SIGKILL)
    # The next one may start without, if it comes before the end was noticed.
    wait_until(lambda: look(serving, file)[0], lambda word: word == "hello")
    assert is_alive(started.pid)
    os.kill(started.pid, signal.SIGTERM)
    assert serving.wait_for(Ended, attempt_id).signal == signal.SIGTERM


def test_a_stopped_template_is_replaced_and_the_launch_starts_all_the_same(
    serving: Serving, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look(serving, file)
    os.kill(prepared_by(file)[0], signal.SIGSTOP)
    attempt_id = serving.launch("prepared", env={"TEMPLATE": str(file)})
    assert serving.wait_for(Ended, attempt_id, timeout_s=60).exit_code == 0
    assert serving.log(attempt_id).split()[0] == "nothing"
    assert look(serving, file)[0] == "hello"


def test_a_killed_server_takes_its_templates_with_it_and_leaves_the_runners(serving: Serving, file: Path) -> None:
    attempt_id = serving.launch("spawn", "sleep", "600", env={"TEMPLATE": str(file)})
    started = serving.wait_for(Started, attempt_id)
    template = prepared_by(file)[0]
    serving.kill()
    wait_until(gone(template))
    assert is_locked(started.log_path)
    # It fell to this process, as it falls to the manager.
    assert psutil.Process(started.pid).ppid() == os.getpid()


def test_a_server_that_is_retired_leaves_no_template_and_no_cgroup(serving: Serving, file: Path) -> None:
    look(serving, file)
    template = prepared_by(file)[0]
    serving.process.channel.finish_sending()
    assert serving.wait_gone() == 0
    assert not is_alive(template)
    home = own_cgroup_directory()
    left = list(Path(home).glob(f"air-executor-{serving.pid}-*")) if home else []
    left += list(Path(home).glob(f"air-executor-{template}-*")) if home else []
    assert left == []


def test_launches_that_wait_are_left_unclaimed_when_the_manager_goes(serving: Serving, tmp_path: Path) -> None:
    path = write(tmp_path / "slow.txt", "slow")
    attempt_id = serving.launch("prepared", env={"TEMPLATE": str(path)})
    wait_until(lambda: prepared_by(path))
    serving.process.channel.finish_sending()
    assert serving.wait_gone() == 0
    assert not Path(serving.log_path(attempt_id)).exists()
    assert not serving.spooled(Started)
    assert not serving.spooled(NotStarted)


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
