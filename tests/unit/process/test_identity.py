from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator

import msgspec
import pytest

from air_executor.process.identity import (
    ProcessIdentity,
    boot_clock_s,
    identify,
    identify_child,
    is_running,
    open_pidfd,
    send_signal,
)
from tests.support.waiting import wait_until


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


def identity_of(process: subprocess.Popen[bytes]) -> ProcessIdentity:
    identity = identify(process.pid)
    assert identity is not None
    return identity


def later_process_of_same_pid(identity: ProcessIdentity) -> ProcessIdentity:
    return msgspec.structs.replace(identity, start_ticks=identity.start_ticks - 1)


def test_a_process_is_known_again(process: subprocess.Popen[bytes]) -> None:
    identity = identity_of(process)
    assert identify(process.pid) == identity
    assert is_running(identity)


def test_an_earlier_process_of_that_pid_or_boot_does_not_run(process: subprocess.Popen[bytes]) -> None:
    identity = identity_of(process)
    assert not is_running(later_process_of_same_pid(identity))
    assert not is_running(msgspec.structs.replace(identity, boot_id="another"))


def test_a_recycled_pid_is_never_signalled(process: subprocess.Popen[bytes]) -> None:
    identity = identity_of(process)
    for stranger in (later_process_of_same_pid(identity), msgspec.structs.replace(identity, boot_id="another")):
        assert open_pidfd(stranger) is None
        assert not send_signal(stranger, signal.SIGKILL)
    assert process.poll() is None


def test_a_zombie_has_ended(process: subprocess.Popen[bytes]) -> None:
    identity = identity_of(process)
    assert send_signal(identity, signal.SIGKILL)
    wait_until(lambda: is_running(identity), lambda running: not running)
    process.wait()
    assert not send_signal(identity, signal.SIGKILL)
    assert identify(process.pid) is None


def test_a_child_is_identified_as_the_kernel_does() -> None:
    for _ in range(50):
        began_s = boot_clock_s()
        pid = os.posix_spawn("/bin/sh", ("sh", "-c", "exit 0"), {})
        quick = identify_child(pid, began_s)
        assert quick == identify(pid)
        os.waitpid(pid, 0)


def test_a_child_is_identified_across_a_clock_tick(process: subprocess.Popen[bytes]) -> None:
    assert identify_child(process.pid, boot_clock_s() - 3600) == identity_of(process)
