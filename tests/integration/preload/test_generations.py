"""Generations follow each other: a new one serves only after its trial, the old one keeps what it runs, changes renew it."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from air_executor.core import preload
from air_executor.manager import generations, launcher
from air_executor.manager.launcher import LocalLauncher, LocalServer, ServerKey
from air_executor.manager.settings import ManagerSettings
from air_executor.process.protocol import Ended, Launch
from air_executor.store.environments import save_environment
from air_executor.store.learned import LearnedFiles, files_of
from air_executor.store.root import Root
from tests.integration.preload.conftest import REPOSITORY
from tests.support.packages import install
from tests.support.waiting import wait_until

THREADED = "import threading, time\nthreading.Thread(target=time.sleep, args=(3600,), daemon=True).start()\n"


class Launching:
    """The part of a manager that starts warm parents, with a root and a package directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.root = Root.open(directory / "root")
        self.packages = directory / "site-packages"
        self.hold = directory / "go"
        install(self.packages, "1", {"a_good": "ANSWER = 1\n", "a_threaded": THREADED})
        variables = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join((str(self.packages), str(REPOSITORY))),
            "PYTHONDONTWRITEBYTECODE": "1",
            "A_TEST_HOLD": str(self.hold),
        }
        digest = save_environment(self.root, sys.executable, variables, str(directory))
        self.key = ServerKey("airflow", digest)
        self.launcher = LocalLauncher(self.root, ManagerSettings(), lambda server: None)
        self.ended: dict[str, Ended] = {}
        self.left: list[LocalServer] = []

    @property
    def files(self) -> LearnedFiles:
        return files_of(self.root, str(self.key.environment))

    def launch(self, name: str, *, imports: str = "", holds: bool = False) -> None:
        message = Launch(
            attempt_id=name,
            log_path=str(self.root.tmp / f"{name}.log"),
            command="task",
            args=("hold",) if holds else (),
            env={"A_TEST_IMPORTS": imports},
        )
        assert self.launcher.launch(self.key, [message]) == []

    def step(self) -> None:
        """Do what the manager's loop does."""
        for server in list(self.launcher.servers.values()):
            for report in self.launcher.receive(server):
                if isinstance(report, Ended):
                    self.ended[report.attempt_id] = report
                    self.launcher.attempt_ended(server, report.attempt_id)
            if server.process.channel.has_ended:
                self.launcher.server_left(server)
                self.launcher.may_start_again(server)
                self.left.append(server)
                os.waitpid(server.process.pid, 0)
        self.launcher.advance(time.monotonic())
        time.sleep(0.01)

    def output(self, name: str) -> list[str]:
        """Wait for the end of an attempt; return the pid of its warm parent, the version and the modules found."""
        wait_until(self._stepping(lambda: name in self.ended), timeout_s=60, what=f"the end of {name}")
        return (self.root.tmp / f"{name}.log").read_text().split()

    def run(self, name: str, **options: str) -> list[str]:
        self.launch(name, **options)
        return self.output(name)

    def wait(self, condition, what: str) -> None:
        wait_until(self._stepping(condition), timeout_s=60, what=what)

    def _stepping(self, condition):
        def look():
            self.step()
            return condition()

        return look

    def wait_for_trial(self) -> None:
        def has_ended():
            learned = self.files.read()
            return learned is not None and learned.trial is not None and not any(map(is_trial, self.servers()))

        self.wait(has_ended, "the end of a trial")

    def servers(self) -> list[LocalServer]:
        return list(self.launcher.servers.values())

    def close(self) -> None:
        self.hold.touch()
        for server in self.servers():
            self.launcher.retire(server)
        self.wait(lambda: not self.launcher.servers, "all servers to leave")


def is_trial(server: LocalServer) -> bool:
    return server.is_trial


@pytest.fixture
def launching(tmp_path, monkeypatch):
    monkeypatch.setitem(launcher._MODULES, "airflow", "tests.integration.preload.warm")
    monkeypatch.setattr(preload, "QUIET_S", 0.1)
    monkeypatch.setattr(preload, "INTERVAL_S", 0.1)
    monkeypatch.setattr(generations, "_RENEWAL_INTERVAL_S", 0.0)
    launching = Launching(tmp_path)
    yield launching
    launching.close()


def learn(launching, *modules):
    """Have tasks import modules, and wait until they have been tried."""
    for number in range(preload.ENOUGH_ATTEMPTS):
        assert launching.run(f"learns-{modules[0]}-{number}", imports=" ".join(modules))
    launching.wait_for_trial()


def test_what_tasks_import_is_found_by_later_ones(launching):
    before = launching.run("before")
    learn(launching, "a_good", "a_threaded")

    after = launching.run("after")

    assert before[1:] == ["None"]
    assert after[1:] == ["1", "a_good"]
    assert after[0] != before[0]
    assert launching.files.read().denied["a_threaded"].cause == "thread"


def test_one_attempt_is_not_enough(launching):
    launching.run("once", imports="a_good")

    launching.wait(lambda: "a_good" in launching.files.read().seen, "its report to be read")

    assert preload.list_candidates(launching.files.read(), launching.files.read().seen["a_good"].last_seen_at) == []
    assert len(launching.servers()) == 1


def test_old_generation_stays_until_its_last_task_has_ended(launching):
    launching.launch("long", holds=True)
    launching.wait(lambda: launching.servers()[0].is_ready, "the first generation")
    old = launching.servers()[0]
    for number in range(preload.ENOUGH_ATTEMPTS):
        launching.run(f"short-{number}", imports="a_good")

    # It never gets quiet: a trial follows all the same.
    preload_latest, preload.LATEST_S = preload.LATEST_S, 0.5
    try:
        launching.wait_for_trial()
    finally:
        preload.LATEST_S = preload_latest
    during = launching.run("during")
    assert old.process.pid in launching.launcher.servers
    launching.hold.touch()
    long = launching.output("long")
    launching.wait(lambda: old.process.pid not in launching.launcher.servers, "the old generation to leave")

    assert during[1:] == ["1", "a_good"]
    assert long[0] == str(old.process.pid) != during[0]


def test_failed_trial_leaves_the_old_generation_serving(launching, tmp_path):
    marker = tmp_path / "marker"
    # Its scout passes; then it ends the process that is to serve.
    source = f"import os\nif os.path.exists({str(marker)!r}): os.abort()\nopen({str(marker)!r}, 'w').close()\n"
    launching.run("first")
    install(launching.packages, "2", {"a_good": "ANSWER = 1\n", "a_two_faced": source})
    launching.run("renewed")

    learn(launching, "a_good", "a_two_faced")
    assert launching.left[-1].is_trial
    assert "SIGABRT" in launching.files.read().denied["a_two_faced"].reason
    launching.wait(lambda: "a_good" in launching.files.read().loaded, "a trial without the culprit")

    assert launching.run("last")[1:] == ["1", "a_good"]
    assert all(ended.exit_code == 0 for ended in launching.ended.values())


def test_changed_package_renews_the_warm_parent_before_the_next_task(launching):
    learn(launching, "a_good")
    before = launching.run("before")

    install(launching.packages, "2", {"a_good": "ANSWER = 'second'\n"})
    after = launching.run("after")
    launching.wait(lambda: "a_good" in launching.files.read().loaded, "a trial of the new version")
    learned_again = launching.run("learned")

    assert before[1:] == ["1", "a_good"]
    assert after[1:] == ["None"]
    assert learned_again[1:] == ["second", "a_good"]


def test_generation_that_does_not_get_ready_is_followed_by_a_plain_one(launching):
    learn(launching, "a_good")
    for server in launching.servers():
        launching.launcher.retire(server)
    launching.wait(lambda: not launching.launcher.servers, "no server")
    # In place, so that no stamp and no fingerprint tells of it.
    (launching.packages / "a_good.py").write_text("import os\nos.abort()\n")

    launching.launch("lost")
    launching.wait(lambda: not launching.launcher.servers, "the end of the broken generation")
    again = launching.run("again")

    assert again[1:] == ["None"]
    assert launching.files.read().denied["a_good"].cause == "crash"


def test_cleared_modules_are_gone_for_the_next_task(launching):
    learn(launching, "a_good")

    launching.files.forget()
    after = launching.run("after")

    assert after[1:] == ["None"]


def test_later_manager_starts_with_what_was_learned(launching):
    learn(launching, "a_good")
    for server in launching.servers():
        launching.launcher.retire(server)
    launching.wait(lambda: not launching.launcher.servers, "no server")

    launching.launcher = LocalLauncher(launching.root, ManagerSettings(), lambda server: None)

    assert launching.run("later")[1:] == ["1", "a_good"]


def test_new_environment_of_the_same_python_begins_with_what_others_have_seen(launching, tmp_path):
    learn(launching, "a_good")
    variables = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join((str(launching.packages), str(REPOSITORY))),
        "HOSTNAME": "another",
    }
    digest = save_environment(launching.root, sys.executable, variables, str(tmp_path))
    launching.key = ServerKey("airflow", digest)

    assert launching.run("first")[1:] == ["None"]
    launching.wait_for_trial()

    assert launching.run("second")[1:] == ["1", "a_good"]


def test_hostile_files_of_reports_and_records_stop_nothing(launching):
    launching.run("first")
    reports = launching.files.reports
    (reports / "broken.json").write_text("{")
    (reports / "wrong.json").write_text('{"modules": 7}')
    (reports / "names.json").write_text('{"modules": ["../x", "a b", "", "os; rm", "' + "x" * 300 + '"]}')
    (reports / "link.json").symlink_to("/etc/passwd")
    (reports / "directory.json").mkdir()
    launching.files.learned.write_text("no JSON")

    learn(launching, "a_good")

    assert launching.run("last")[1:] == ["1", "a_good"]
    assert set(launching.files.read().loaded) == {"a_good"}
    assert not launching.files.read().seen
