"""What `doctor` looks at: each check returns what it found and, if that is not well, what to do about it."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import sys
import tempfile
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from air_executor.errors import AirExecutorError
from air_executor.store.root import Root

_EVENT_WAIT_S = 2.0
_LEAST_FILES = 1024
_LEAST_FREE_BYTES = 256 * 1024 * 1024
_LEAST_FREE_INODES = 10_000
_LEAST_WATCHES = 1024
_NETWORK_FILE_SYSTEMS = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "glusterfs", "ceph", "lustre"})
_PACKAGES = ("click", "msgspec", "psutil", "rich", "watchdog")


class Verdict(str, Enum):
    """How bad it is."""

    OK = "ok"
    """As it should be."""
    WARNING = "warning"
    """Works, but less well."""
    PROBLEM = "problem"
    """Does not work."""


class Finding(NamedTuple):
    """What a check found."""

    verdict: Verdict
    subject: str
    text: str
    remedy: str | None = None


def check_all(base_path: Path) -> list[Finding]:
    """Return what all checks find, in the order in which to read it. Nothing is left behind."""
    findings = [*_guarded("python", _check_python), *_guarded("packages", _check_packages)]
    root: Root | None = None
    try:
        root = Root.open(base_path, create=False) if os.path.lexists(base_path) else None
        findings.append(
            Finding(Verdict.OK, "base path", f"{base_path} is yours alone")
            if root is not None
            else Finding(
                Verdict.OK, "base path", f"{base_path} does not exist yet; the first job or manager creates it"
            )
        )
    except AirExecutorError as error:
        findings.append(Finding(Verdict.PROBLEM, "base path", str(error)))
    place = base_path if root is not None else _existing_parent(base_path)
    for subject, check in (
        ("disk", lambda: _check_disk(place)),
        ("file system", lambda: _check_file_system(place)),
        ("file events", lambda: _check_file_events(place)),
        ("inotify", _check_inotify),
        ("limits", _check_limits),
        ("processes", _check_processes),
        ("cgroups", _check_cgroups),
    ):
        findings += _guarded(subject, check)
    if root is not None:
        known_root = root
        findings += _guarded("manager", lambda: _check_manager(known_root))
        findings += _guarded("jobs", lambda: _check_jobs(known_root))
        findings += _guarded("history", lambda: _check_history(known_root))
    return findings


def _guarded(subject: str, check: Callable[[], Iterator[Finding]]) -> list[Finding]:
    try:
        return list(check())
    except Exception as error:
        return [Finding(Verdict.WARNING, subject, f"could not be checked ({type(error).__name__}: {error})")]


def _check_python() -> Iterator[Finding]:
    version = platform.python_version()
    if sys.platform != "linux":
        yield Finding(
            Verdict.WARNING,
            "python",
            f"{version} on {sys.platform}: process trees are followed less exactly than on Linux",
            "run the manager on Linux, or in a container",
        )
    else:
        yield Finding(Verdict.OK, "python", f"{version}, Linux {platform.release()}")


def _check_packages() -> Iterator[Finding]:
    from importlib.metadata import PackageNotFoundError, version

    from air_executor import __version__

    found: list[str] = [f"air-executor {__version__}"]
    for package in (*_PACKAGES, "apache-airflow"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            if package in _PACKAGES:
                yield Finding(Verdict.PROBLEM, "packages", f"{package} is missing", f"run `pip install {package}`")
    yield Finding(Verdict.OK, "packages", ", ".join(found))


def _check_disk(place: Path) -> Iterator[Finding]:
    from air_executor.core.quantities import show_size

    status = os.statvfs(place)
    free_bytes = status.f_bavail * status.f_frsize
    text = f"{show_size(free_bytes)} free"
    if free_bytes < _LEAST_FREE_BYTES:
        yield Finding(Verdict.PROBLEM, "disk", text, "make room: `air-executor prune --older-than 7d` removes old jobs")
    # Some file systems, as btrfs, do not count inodes.
    elif status.f_files and status.f_favail < _LEAST_FREE_INODES:
        text = f"only {status.f_favail} more files can be created"
        yield Finding(Verdict.PROBLEM, "disk", text, "make room: `air-executor prune --older-than 7d` removes old jobs")
    else:
        yield Finding(Verdict.OK, "disk", text)


def _check_file_system(place: Path) -> Iterator[Finding]:
    """Try what everything relies on: locks that hold, files that are swapped at once, modes that are kept."""
    import fcntl

    from air_executor.store.files import exchange

    kind = _file_system_of(place)
    with tempfile.TemporaryDirectory(prefix=".air-executor-doctor-", dir=place) as directory:
        first, second = Path(directory, "first"), Path(directory, "second")
        first.write_bytes(b"1")
        second.write_bytes(b"2")
        with open(first, "rb") as one, open(first, "rb") as other:
            fcntl.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                pass
            else:
                yield Finding(
                    Verdict.PROBLEM,
                    "file system",
                    f"{kind}: locks (flock) do not hold, so tasks could run twice",
                    "use a base path on a local file system",
                )
                return
        exchange(first, second)
        is_private = os.stat(directory).st_mode & 0o077 == 0
        is_swapped = first.read_bytes() == b"2"
    if not is_private or not is_swapped:
        what = "modes of files are not kept" if not is_private else "files cannot be swapped"
        yield Finding(Verdict.PROBLEM, "file system", f"{kind}: {what}", "use a base path on a local file system")
    elif kind in _NETWORK_FILE_SYSTEMS:
        yield Finding(
            Verdict.WARNING,
            "file system",
            f"{kind}: a network file system is slow here and delivers no events of other machines",
            "use a base path on a local file system",
        )
    else:
        yield Finding(Verdict.OK, "file system", f"{kind}: locks hold, files are swapped at once")


def _check_file_events(place: Path) -> Iterator[Finding]:
    from air_executor.store.watch import Watch

    with (
        tempfile.TemporaryDirectory(prefix=".air-executor-doctor-", dir=place) as directory,
        Watch((Path(directory),)) as watch,
    ):
        Path(directory, "file").touch()
        has_woken = watch.is_live and watch.wait(_EVENT_WAIT_S)
    if has_woken:
        yield Finding(Verdict.OK, "file events", "arrive")
    else:
        yield Finding(
            Verdict.WARNING,
            "file events",
            "do not arrive: jobs are found by looking every few seconds",
            "use a base path on a local file system, or see inotify below",
        )


def _check_inotify() -> Iterator[Finding]:
    values = {name: _read_number(f"/proc/sys/fs/inotify/{name}") for name in ("max_user_watches", "max_user_instances")}
    watches, instances = values["max_user_watches"], values["max_user_instances"]
    if watches is None or instances is None:
        return
    used = _inotify_instances()
    text = f"{used} of {instances} instances in use, {watches} watches allowed"
    if used >= instances - 2:
        remedy = f"run `sysctl fs.inotify.max_user_instances={max(instances * 4, 512)}` as root"
        yield Finding(Verdict.WARNING, "inotify", text, remedy)
    elif watches < _LEAST_WATCHES:
        yield Finding(Verdict.WARNING, "inotify", text, "run `sysctl fs.inotify.max_user_watches=65536` as root")
    else:
        yield Finding(Verdict.OK, "inotify", text)


def _check_limits() -> Iterator[Finding]:
    files, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    processes, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    text = f"{_shown_limit(files)} open files, {_shown_limit(processes)} processes"
    if files != resource.RLIM_INFINITY and files < _LEAST_FILES:
        remedy = f"run `ulimit -n {_shown_limit(most_files)}` before the manager is started"
        yield Finding(Verdict.WARNING, "limits", text, remedy)
    elif processes != resource.RLIM_INFINITY and processes < 256:
        yield Finding(
            Verdict.WARNING, "limits", text, "run `ulimit -u 4096` before the manager is started, or use fewer slots"
        )
    else:
        yield Finding(Verdict.OK, "limits", text)


def _check_processes() -> Iterator[Finding]:
    if sys.platform != "linux":
        return
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError) as error:
        yield Finding(
            Verdict.WARNING,
            "processes",
            f"no pidfd ({error}): adopted tasks are watched by looking at them",
            "use Linux 5.3 or newer; in a container, allow the system call pidfd_open",
        )
        return
    yield Finding(Verdict.OK, "processes", "can be watched by pidfd")


def _check_cgroups() -> Iterator[Finding]:
    from air_executor.process.cgroup import own_cgroup_directory

    less = "memory limits are kept by sampling, and process trees followed by session and mark"
    if sys.platform != "linux":
        return
    directory = own_cgroup_directory()
    if directory is None:
        yield Finding(
            Verdict.WARNING,
            "cgroups",
            f"no cgroup v2 here: {less}",
            "boot with cgroup v2, or mount it in the container",
        )
    elif not os.access(f"{directory}/cgroup.procs", os.W_OK):
        yield Finding(
            Verdict.WARNING,
            "cgroups",
            f"{directory} cannot be written to: {less}",
            "start the manager with `systemd-run --user --scope -p Delegate=yes air-executor manager run`",
        )
    else:
        controllers = Path(directory, "cgroup.controllers").read_text(encoding="ascii").split()
        has_memory = "memory" in controllers
        text = f"{directory} can be used{'' if has_memory else ', without the memory controller: limits are kept by sampling'}"
        yield Finding(Verdict.OK, "cgroups", text)


def _check_manager(root: Root) -> Iterator[Finding]:
    from air_executor.store.locks import manager_is_running, read_manager_pid
    from air_executor.store.requests import list_requests

    if manager_is_running(root):
        yield Finding(Verdict.OK, "manager", f"runs (pid {read_manager_pid(root)})")
        return
    waiting = len(list_requests(root))
    text = f"none runs{f'; {waiting} requests wait for one' if waiting else ''}"
    yield Finding(Verdict.WARNING, "manager", text, "start one with `air-executor manager start`")


def _check_jobs(root: Root) -> Iterator[Finding]:
    from air_executor.client import AirExecutorClient

    client = AirExecutorClient(root.path)
    names = client.job_names()
    damaged = 0
    for name in names:
        try:
            client.job(name)
        except (AirExecutorError, OSError) as error:
            damaged += 1
            yield Finding(Verdict.PROBLEM, "jobs", str(error))
    if not damaged:
        yield Finding(Verdict.OK, "jobs", f"{len(names)} can be read")


def _check_history(root: Root) -> Iterator[Finding]:
    from air_executor.history.location import need_packages, wants_history
    from air_executor.store.backlog import kept_journals
    from air_executor.store.history_status import read_history_status

    if not wants_history(root):
        return
    try:
        need_packages()
    except AirExecutorError as error:
        yield Finding(Verdict.PROBLEM, "history", str(error), "run `pip install 'air-executor[history]'`")
        return
    waiting = len(kept_journals(root))
    status = read_history_status(root)
    if status is None:
        yield Finding(Verdict.OK, "history", f"nothing is recorded yet; journals of {waiting} jobs are kept for it")
        return
    if status.error is not None:
        text = f"could not be recorded at {status.at:%Y-%m-%d %H:%M:%S} UTC: {status.error}"
        remedy = f"mend that; the journals of {waiting} jobs wait in {root.history}, and are recorded then"
        yield Finding(Verdict.PROBLEM, "history", text, remedy)
    else:
        yield Finding(Verdict.OK, "history", f"is recorded in {status.database}; {waiting} jobs run or wait for it")
    if status.dropped:
        text = f"{status.dropped} journals were given up while the database could not be reached"
        yield Finding(Verdict.WARNING, "history", text, f"remove {root.run / 'history.json'} to forget this")


def _existing_parent(path: Path) -> Path:
    while not path.is_dir() and path != path.parent:
        path = path.parent
    return path


def _file_system_of(place: Path) -> str:
    """Return the kind of file system: that of the longest mount point above `place`."""
    best, kind = "", "unknown"
    with contextlib.suppress(OSError), open("/proc/self/mounts", encoding="utf-8", errors="replace") as mounts:
        for line in mounts:
            _, point, found, *_ = line.split()
            point = point.replace("\\040", " ")
            is_above = os.path.commonpath((point, os.path.realpath(place))) == point
            if is_above and len(point) >= len(best):
                best, kind = point, found
    return kind


def _inotify_instances() -> int:
    """Return how many inotify instances this user's processes have open."""
    count = 0
    with os.scandir("/proc") as processes:
        for process in processes:
            if not process.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                if process.stat().st_uid == os.geteuid():
                    links = (os.readlink(link.path) for link in os.scandir(f"{process.path}/fd"))
                    count += sum(link == "anon_inode:inotify" for link in links)
    return count


def _read_number(path: str) -> int | None:
    try:
        return int(Path(path).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _shown_limit(limit: int) -> str:
    return "unlimited" if limit == resource.RLIM_INFINITY else str(limit)
