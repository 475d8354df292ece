"""The facts of `procfs` where there is no /proc (macOS), from psutil, which is imported only here."""

from __future__ import annotations

import os

import psutil

from air_executor.process.procfs import ProcessStat

_TICKS_PER_SECOND = 100


def _stat_of(process: psutil.Process) -> ProcessStat | None:
    try:
        with process.oneshot():
            return ProcessStat(
                process.pid,
                process.name(),
                "Z" if process.status() == psutil.STATUS_ZOMBIE else "S",
                process.ppid(),
                os.getsid(process.pid),
                int(process.create_time() * _TICKS_PER_SECOND),
            )
    except (psutil.Error, OSError):
        return None


def read_stat(pid: int) -> ProcessStat | None:
    """Describe a process; None when there is none."""
    try:
        return _stat_of(psutil.Process(pid))
    except psutil.Error:
        return None


def list_processes() -> dict[int, ProcessStat]:
    """Describe every process that is visible."""
    return {stat.pid: stat for process in psutil.process_iter() if (stat := _stat_of(process)) is not None}


def memory_bytes(pid: int) -> int:
    """Measure resident memory; 0 when the process is gone."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def boot_id() -> str:
    """Name the present boot by its time."""
    return f"boot-{int(psutil.boot_time())}"
