"""What an executor holds of the machine at one moment: memory, descriptors, processes, threads, files, cgroups."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from air_executor.process.cgroup import own_cgroup_directory
from benchmarks.measured_site import MeasuredSite

Footprint = dict[str, float]
"""What is held, in words, and how much of it."""

_HOUSEKEEPING_S = 30.0
"""How often the manager looks for finished jobs whose time is over."""
_LOOKS = 5
_PAUSE_S = 1.0


def lowest_of(look: Callable[[], Footprint]) -> Footprint:
    """Look several times and return the lowest of each: what comes and goes is no growth."""
    seen = [look()]
    while len(seen) < _LOOKS:
        time.sleep(_PAUSE_S)
        seen.append(look())
    return {what: min(each.get(what, 0.0) for each in seen) for what in seen[0]}


def read_footprint(site: MeasuredSite, keep_finished_s: float) -> Footprint:
    """Read what a site holds now.

    :param keep_finished_s: what `[air_executor] keep_finished` says; finished jobs count only when they are overdue.
    """
    roles = _find_roles(site)
    pids = [pid for found in roles.values() for pid in found]
    held: Footprint = {}
    for role, found in roles.items():
        held[f"{role}: memory of its own, MiB"] = _read_memory_mib(found, ("Pss_Anon", "Pss_Shmem"))
        held[f"{role}: memory with program files, MiB"] = _read_memory_mib(found, ("Pss",))
        held[f"{role}: open descriptors"] = sum(_count(f"/proc/{pid}/fd") for pid in found)
    held["threads of these"] = sum(_count(f"/proc/{pid}/task") for pid in pids)
    held["inotify watches of these"] = sum(map(_count_watches, pids))
    # Some write a title where their environment was, by which the site knows its own.
    held["processes of the whole site"] = len({*site.processes(), *site.processes_by_role.of_executor()})
    held["cgroups"] = _count_cgroups(pids)
    held["entries in the temporary directory"] = _count(site.temporary)
    if (site.base_path / "jobs").exists():
        held |= _read_base_path(site.base_path, keep_finished_s)
    return held


def _find_roles(site: MeasuredSite) -> dict[str, list[int]]:
    roles = {"scheduler": [site.pid("scheduler")]}
    manager = site.manager_pid()
    if manager is not None:
        servers = [pid for pid in site.processes_by_role.engine_pids() if pid != manager]
        roles |= {"manager": [manager], "warm parent": servers}
    return roles


def _read_base_path(base_path: Path, keep_finished_s: float) -> Footprint:
    entries = list(_list_entries(base_path))
    logs = {entry.path for entry in entries if entry.name.startswith("manager.log")}
    spools = {entry.path for entry in entries if entry.path.startswith(str(base_path / "run")) and entry.is_file()}
    overdue_at = time.time() - keep_finished_s - 2 * _HOUSEKEEPING_S
    return {
        "files and directories under the base path": len(entries),
        # Not of directories: the file system never makes one smaller.
        "the same, KiB": sum(
            _size_kib(entry.path) for entry in entries if entry.is_file() and entry.path not in logs | spools
        ),
        "finished jobs beyond their time": sum(
            _changed_at(job.path) < overdue_at for job in os.scandir(base_path / "jobs")
        ),
        "manager.log, KiB": sum(map(_size_kib, logs)),
        "spools of fork servers, KiB": sum(map(_size_kib, spools)),
    }


def _list_entries(base_path: Path) -> Iterator[os.DirEntry[str]]:
    """Yield everything below the base path, but not the finished jobs, which are kept for a while on purpose."""
    waiting = [str(base_path)]
    while waiting:
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                yield entry
                if entry.is_dir(follow_symlinks=False) and entry.path != str(base_path / "jobs"):
                    waiting.append(entry.path)


def _read_memory_mib(pids: Iterable[int], fields: tuple[str, ...]) -> float:
    total_kib = 0
    for pid in pids:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/smaps_rollup") as file:
            total_kib += sum(int(line.split()[1]) for line in file if line.partition(":")[0] in fields)
    return total_kib / 1024


def _count_watches(pid: int) -> int:
    count = 0
    with contextlib.suppress(OSError):
        for path in Path(f"/proc/{pid}/fdinfo").iterdir():
            with contextlib.suppress(OSError):
                count += path.read_text().count("inotify wd:")
    return count


def _count_cgroups(pids: Iterable[int]) -> int:
    home = own_cgroup_directory()
    if home is None:
        return 0
    # Each fork server has one, with its pid in the name, and in it those of its attempts.
    parents = [path for pid in pids for path in Path(home).glob(f"air-executor-{pid}-*")]
    return sum(1 for parent in parents for path in (parent, *parent.iterdir()) if path.is_dir())


def _count(directory: str | Path) -> int:
    try:
        return len(os.listdir(directory))
    except OSError:
        return 0


def _size_kib(path: str) -> float:
    try:
        return os.lstat(path).st_size / 1024
    except OSError:
        return 0.0


def _changed_at(path: str) -> float:
    try:
        return os.lstat(path).st_mtime
    except OSError:
        return time.time()
