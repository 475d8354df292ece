from __future__ import annotations

import pytest

from air_executor.airflow.manager_keeper import ManagerKeeper


class Root:
    def __init__(self):
        self.has_manager = False
        self.starts = []
        self.fault = None

    def manager_is_running(self):
        return self.has_manager

    def start_manager(self, **options):
        self.starts.append(options)
        if self.fault:
            raise self.fault
        self.has_manager = True


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
