"""What the kernel tells about processes: one snapshot type, from /proc on Linux and from psutil elsewhere."""

from __future__ import annotations

import os
import sys

import msgspec

IS_LINUX = sys.platform.startswith("linux")

_READ_SIZE = 65536


class ProcessStat(msgspec.Struct, frozen=True, gc=False):
    """One process at one instant."""

    pid: int
    name: str
    state: str
    """One letter as in ps; Z is a zombie, which counts as ended."""
    parent_pid: int
    session: int
    start_ticks: int
    """Clock ticks between boot and start: with pid and boot id, a process's identity."""

    @property
    def has_ended(self) -> bool:
        """Whether it is a zombie or about to vanish."""
        return self.state in "ZX"

    @property
    def label(self) -> str:
        """`name (pid)`, the form in which records name a process."""
        return f"{self.name} ({self.pid})"


def read_file(path: str) -> bytes:
    """Read a whole /proc or /sys file with as few calls as it takes; raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        chunk = os.read(descriptor, _READ_SIZE)
        if len(chunk) < _READ_SIZE:
            return chunk
        chunks = [chunk]
        while chunk := os.read(descriptor, _READ_SIZE):
            chunks.append(chunk)
        return b"".join(chunks)
    finally:
        os.close(descriptor)


def read_stat(pid: int) -> ProcessStat | None:
    """Describe a process, zombies included; None when there is none of that pid."""
    if not IS_LINUX:
        from air_executor.process import portable

        return portable.read_stat(pid)
    try:
        data = read_file(f"/proc/{pid}/stat")
    except OSError:
        return None
    # The name may hold spaces and parentheses: everything is counted from its last closing parenthesis.
    name_start, name_end = data.find(b"("), data.rfind(b")")
    fields = data[name_end + 2 :].split(None, 20)
    if name_end < 0 or len(fields) < 20:
        return None
    return ProcessStat(
        pid,
        data[name_start + 1 : name_end].decode("utf-8", "replace"),
        fields[0].decode("ascii"),
        int(fields[1]),
        int(fields[3]),
        int(fields[19]),
    )


def list_processes() -> dict[int, ProcessStat]:
    """Describe every process that is visible; zombies included, kernel threads left out."""
    if not IS_LINUX:
        from air_executor.process import portable

        return portable.list_processes()
    processes = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (stat := read_stat(int(entry))) is not None and 2 not in (stat.pid, stat.parent_pid):
            processes[stat.pid] = stat
    return processes


def list_children() -> list[int] | None:
    """List the children of the calling thread in one read; None where the kernel does not offer that."""
    pid = os.getpid()
    try:
        return [int(child) for child in read_file(f"/proc/{pid}/task/{pid}/children").split()]
    except OSError:
        return None


def has_environment_entry(pid: int, entry: bytes) -> bool:
    """Tell whether the environment a process was started with holds `NAME=value`."""
    try:
        return entry in read_file(f"/proc/{pid}/environ").split(b"\0")
    except OSError:
        return False


def environment_value(pid: int, name: bytes) -> bytes | None:
    """Read one variable of the environment a process was started with."""
    prefix = name + b"="
    try:
        entries = read_file(f"/proc/{pid}/environ").split(b"\0")
    except OSError:
        return None
    return next((entry[len(prefix) :] for entry in entries if entry.startswith(prefix)), None)


def can_write_to(pid: int, device: int, inode: int) -> bool:
    """Tell whether a process holds that file open for writing; one that only reads it (`tail -f`) does not count."""
    try:
        descriptors = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return False
    for descriptor in descriptors:
        try:
            status = os.stat(f"/proc/{pid}/fd/{descriptor}")
            if (status.st_dev, status.st_ino) != (device, inode):
                continue
            for line in read_file(f"/proc/{pid}/fdinfo/{descriptor}").splitlines():
                if line.startswith(b"flags:") and int(line.split()[1], 8) & os.O_ACCMODE != os.O_RDONLY:
                    return True
        except OSError:
            continue
    return False


def memory_bytes(pid: int) -> int:
    """Measure a process's memory: proportional share where readable, else resident size; 0 when it is gone."""
    if not IS_LINUX:
        from air_executor.process import portable

        return portable.memory_bytes(pid)
    try:
        # Forked runners share most pages with their warm parent: resident size would count those once per runner.
        for line in read_file(f"/proc/{pid}/smaps_rollup").splitlines():
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return int(read_file(f"/proc/{pid}/statm").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0
