from __future__ import annotations

import pytest

from air_executor.airflow.manager_keeper import ManagerKeeper


class Root:
    def __init__(self):
        self.has_manager = False
        self.starts = []
        self.waits = []
        self.fault = None
        self.is_slow = False

    def manager_is_running(self):
        return self.has_manager

    def ensure_manager(self, wait_s, **options):
        self.starts.append(options)
        self.waits.append(wait_s)
        if self.fault:
            raise self.fault
        self.has_manager = self.has_manager or not self.is_slow
        return 4711 if self.has_manager else None


class Log:
    def __init__(self):
        self.messages = []

    def info(self, message):
        self.messages.append(message)

    warning = info


@pytest.fixture
def root():
    return Root()


@pytest.fixture
def log():
    return Log()


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def make_keeper(log, clock, *, autostart):
    return ManagerKeeper(autostart=autostart, start_options={"slots": 3}, log=log, clock=clock)


def test_it_starts_a_manager_and_again_when_it_vanished(root, log, clock):
    keeper = make_keeper(log, clock, autostart=True)
    keeper.check(root, 0)
    assert root.starts == [{"slots": 3}]
    root.has_manager = False
    keeper.check(root, 0)
    assert len(root.starts) == 1, "not in each loop"
    clock.now += 6
    keeper.check(root, 0)
    assert len(root.starts) == 2


def test_without_autostart_it_warns_again_and_again_while_jobs_wait(root, log, clock):
    keeper = make_keeper(log, clock, autostart=False)
    for _ in range(30):
        keeper.check(root, 2)
        clock.now += 5
    assert root.starts == []
    assert len(log.messages) == 3
    assert "2 job(s) wait" in log.messages[0]


def test_without_autostart_and_jobs_it_is_silent(root, log, clock):
    make_keeper(log, clock, autostart=False).check(root, 0)
    assert log.messages == []


def test_a_manager_that_cannot_be_started_is_no_error_of_the_scheduler(root, log, clock):
    root.fault = RuntimeError("no memory")
    keeper = make_keeper(log, clock, autostart=True)
    for _ in range(12):
        keeper.check(root, 0)
        clock.now += 6
    assert len(root.starts) == 12
    assert len(log.messages) == 2
    assert "no memory" in log.messages[0]


def test_it_waits_only_when_told_to(root, log, clock):
    keeper = make_keeper(log, clock, autostart=True)
    keeper.check(root, 0, 5.0)
    root.has_manager = False
    clock.now += 6
    keeper.check(root, 0)
    assert root.waits == [5.0, 0.0]


def test_a_manager_that_is_still_starting_is_looked_at_again(root, log, clock):
    root.is_slow = True
    keeper = make_keeper(log, clock, autostart=True)
    keeper.check(root, 0)
    assert log.messages == []
    root.has_manager = True
    clock.now += 6
    keeper.check(root, 0)
    assert log.messages == ["Started a manager, because none was running."]
    clock.now += 6
    keeper.check(root, 0)
    assert len(root.starts) == 2, "a running one is left alone"


def test_a_manager_that_never_gets_ready_is_told_of(root, log, clock):
    root.is_slow = True
    keeper = make_keeper(log, clock, autostart=True)
    for _ in range(20):
        keeper.check(root, 0)
        clock.now += 5
    assert len(log.messages) == 2
    assert "does not run yet" in log.messages[0]


def test_a_lock_that_cannot_be_looked_at_is_no_error_of_the_scheduler(root, log, clock, monkeypatch):
    def refuse():
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(root, "manager_is_running", refuse)
    make_keeper(log, clock, autostart=False).check(root, 1)
    assert "Too many open files" in log.messages[0]
