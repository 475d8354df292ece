"""Which process a pid means: (boot, pid, start time). Every signal of the project goes through `send_signal`."""

from __future__ import annotations

import functools
import os
import signal
import time

import msgspec

from air_executor.process.procfs import IS_LINUX, read_file, read_stat

_CLOCK_MARGIN_S = 0.00001


class ProcessIdentity(msgspec.Struct, frozen=True):
    """One process for ever: no later process of the same pid is equal to it."""

    pid: int
    start_ticks: int
    boot_id: str


@functools.cache
def boot_id() -> str:
    """Name the present boot of this machine."""
    if not IS_LINUX:
        from air_executor.process import portable

        return portable.boot_id()
    return read_file("/proc/sys/kernel/random/boot_id").decode("ascii").strip()


def identify(pid: int) -> ProcessIdentity | None:
    """Name the process that has this pid now, a zombie too; None when there is none."""
    stat = read_stat(pid)
    return None if stat is None else ProcessIdentity(pid, stat.start_ticks, boot_id())


def boot_clock_s() -> float:
    """Read the clock in which the kernel dates the start of processes."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if IS_LINUX else 0.0


def identify_child(pid: int, after_s: float | None) -> ProcessIdentity:
    """Name a child that was created since `boot_clock_s` said `after_s` and has not been reaped; None: nobody knows when.

    When both ends of that time lie in one clock tick, the start time is known without asking the kernel, which
    is slow for a process in the middle of its exec.
    """
    if IS_LINUX and after_s is not None:
        ticks_per_s = os.sysconf("SC_CLK_TCK")
        first_tick = int((after_s - _CLOCK_MARGIN_S) * ticks_per_s)
        if first_tick == int((boot_clock_s() + _CLOCK_MARGIN_S) * ticks_per_s):
            return ProcessIdentity(pid, first_tick, boot_id())
    return identify(pid) or ProcessIdentity(pid, 0, boot_id())


def is_running(identity: ProcessIdentity) -> bool:
    """Tell whether exactly this process runs; a zombie has ended."""
    stat = read_stat(identity.pid)
    return (
        stat is not None
        and not stat.has_ended
        and stat.start_ticks == identity.start_ticks
        and identity.boot_id == boot_id()
    )


def open_pidfd(identity: ProcessIdentity) -> int | None:
    """Open a descriptor that polls readable when exactly this process ends; None when it is gone.

    Raises OSError where pidfds do not exist (macOS, Linux before 5.3) or descriptors ran out.
    """
    if not hasattr(os, "pidfd_open"):
        raise OSError("pidfds are not available on this platform")
    try:
        descriptor = os.pidfd_open(identity.pid)
    except ProcessLookupError:
        return None
    # Between the caller's look and the open, the pid may have gone to another process. The descriptor is bound now:
    # what it is bound to can be checked without a race.
    if identify(identity.pid) != identity:
        os.close(descriptor)
        return None
    return descriptor


def send_signal(identity: ProcessIdentity, signal_number: int) -> bool:
    """Signal exactly this process, never a later one of its pid; False when it is gone.

    Raises PermissionError when it is not ours to signal.
    """
    try:
        descriptor = open_pidfd(identity)
    except PermissionError:
        raise
    except OSError:
        return _send_signal_by_pid(identity, signal_number)
    if descriptor is None:
        return False
    try:
        signal.pidfd_send_signal(descriptor, signal_number)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True


def _send_signal_by_pid(identity: ProcessIdentity, signal_number: int) -> bool:
    # Without pidfds a window of microseconds remains between the check and the signal.
    if not is_running(identity):
        return False
    try:
        os.kill(identity.pid, signal_number)
    except ProcessLookupError:
        return False
    return True


def age_s(start_ticks: int, at_s: float | None = None) -> float:
    """Tell for how many seconds a process had run at an instant of `boot_clock_s`, now by default; 0 if nobody knows when it started."""
    if not start_ticks:
        return 0.0
    return max(0.0, (boot_clock_s() if at_s is None else at_s) - start_ticks / os.sysconf("SC_CLK_TCK"))


def own_age_s() -> float:
    """Tell how many seconds ago the calling process was started, interpreter start included."""
    stat = read_stat(os.getpid())
    return time.process_time() if not IS_LINUX or stat is None else age_s(stat.start_ticks)
