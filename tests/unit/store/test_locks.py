"""One manager a root: the kernel's lock decides, whatever the pid file says."""

from __future__ import annotations

import fcntl
import os
import threading

import pytest

from air_executor.errors import ManagerRunningError
from air_executor.store.locks import ManagerLock, manager_is_running, read_manager_pid
from air_executor.store.root import Root
from tests.support.processes import at_once


def test_the_lock_is_held_until_it_is_released(root: Root) -> None:
    assert not manager_is_running(root)
    lock = ManagerLock(root)
    assert manager_is_running(root)
    assert read_manager_pid(root) == os.getpid()
    with pytest.raises(ManagerRunningError, match=rf"pid {os.getpid()}\) runs on {root.path} already"):
        ManagerLock(root)
    lock.release()
    assert not manager_is_running(root)
    assert read_manager_pid(root) is None
    ManagerLock(root).release()


@pytest.mark.parametrize("content", ["", "no number", "999999999\n", "-1", "1\n2"])
def test_the_pid_file_is_for_people_alone(root: Root, content: str) -> None:
    root.manager_pid.write_text(content)
    assert not manager_is_running(root)
    lock = ManagerLock(root)
    assert read_manager_pid(root) == os.getpid()
    lock.release()


def test_the_pid_is_not_written_through_a_link(root: Root) -> None:
    victim = root.path / "victim"
    victim.write_text("mine")
    root.manager_pid.symlink_to(victim)
    ManagerLock(root).release()
    assert victim.read_text() == "mine"


def test_of_fifty_at_once_one_wins(root: Root) -> None:
    reader, writer = os.pipe()

    def take(_: int) -> int:
        try:
            lock = ManagerLock(root)
        except ManagerRunningError:
            os.write(writer, b"x")
            return 0
        # Held until all others have tried.
        for _ in range(49):
            os.read(reader, 1)
        lock.release()
        return 1

    for _ in range(5):
        assert sum(at_once(50, take)) == 1
        assert not manager_is_running(root)
    os.close(reader)
    os.close(writer)


def test_the_lock_of_a_killed_process_is_free(root: Root) -> None:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        lock = ManagerLock(root)
        os.write(writer, b"x")
        os.read(reader, 0)
        while lock:
            os.sched_yield() if os.getppid() > 1 else os._exit(1)
    assert os.read(reader, 1) == b"x"
    assert manager_is_running(root)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    os.close(reader)
    os.close(writer)
    assert not manager_is_running(root)
    assert read_manager_pid(root) == pid
    ManagerLock(root).release()


def test_who_only_asks_does_not_keep_a_manager_from_starting(root: Root) -> None:
    ManagerLock(root).release()
    # A look takes the lock for a moment, shared: as `status` in another process does.
    fd = os.open(root.manager_lock, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_SH)
    timer = threading.Timer(0.05, os.close, (fd,))
    timer.start()
    lock = ManagerLock(root)
    timer.join()
    lock.release()
