"""cgroup v2 directories, one per attempt: exact membership, one-write kill, memory limit. All of it best effort.

Every failure here means "no cgroup": attempts are then tracked by session, mark and log (see `tree`).
"""

from __future__ import annotations

import contextlib
import os

from air_executor.process.identity import ProcessIdentity, boot_id, is_running
from air_executor.process.procfs import IS_LINUX, read_file, read_stat

_PREFIX = "air-executor-"


def _write(path: str, text: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text)
    finally:
        os.close(descriptor)


def own_cgroup_directory() -> str | None:
    """Find the directory of the calling process's cgroup v2, on unified and hybrid hosts; None when there is none."""
    if not IS_LINUX:
        return None
    try:
        mounts = read_file("/proc/self/mountinfo").decode()
        memberships = read_file("/proc/self/cgroup").decode()
    except OSError:
        return None
    own = next((line[3:] for line in memberships.splitlines() if line.startswith("0::")), None)
    for line in mounts.splitlines():
        mount, _, filesystem = line.partition(" - ")
        if own is not None and filesystem.startswith("cgroup2 "):
            root, mount_point = mount.split()[3:5]
            relative = os.path.relpath(own, root)
            # A process moved in from outside its cgroup namespace has a path with "..": not visible from here.
            if ".." not in own.split("/") and not relative.startswith(".."):
                return os.path.normpath(os.path.join(mount_point, relative))
    return None


class AttemptCgroup:
    """The cgroup of one attempt. Its directory name is never used twice, so a late kill hits nobody else."""

    def __init__(self, path: str, has_memory_controller: bool = True) -> None:
        """Refer to an existing directory."""
        self.path = path
        self._has_memory_controller = has_memory_controller
        self._procs = f"{path}/cgroup.procs"

    def enter(self) -> None:
        """Move the calling process in: what it starts from now on is born inside. Raises OSError."""
        _write(self._procs, b"0")

    def limit_memory(self, size_bytes: int) -> bool:
        """Have the kernel enforce a memory limit; False where the memory controller is not available here."""
        try:
            _write(f"{self.path}/memory.max", str(size_bytes).encode())
        except OSError:
            return False
        try:
            # With swap the limit would only make the task slow, and the machine with it.
            _write(f"{self.path}/memory.swap.max", b"0")
        except OSError:
            pass
        return True

    def pids(self) -> list[int]:
        """List the processes inside, also in cgroups that they made below; zombies perhaps included."""
        pids = []
        for directory, _, _ in os.walk(self.path):
            try:
                pids += [int(pid) for pid in read_file(f"{directory}/cgroup.procs").split() if pid != b"0"]
            except OSError:
                continue
        return pids

    def is_populated(self) -> bool | None:
        """Tell whether anything lives inside; None when that cannot be known."""
        try:
            return b"populated 1" in read_file(f"{self.path}/cgroup.events")
        except FileNotFoundError:
            return False
        except OSError:
            return None

    def kill(self) -> bool:
        """SIGKILL everything inside at once, also what forks meanwhile; False where the kernel (before 5.14) cannot."""
        try:
            _write(f"{self.path}/cgroup.kill", b"1")
        except OSError:
            return False
        return True

    def ran_out_of_memory(self) -> bool:
        """Tell whether the kernel killed a process inside because memory ran out."""
        if not self._has_memory_controller:
            return False
        try:
            events = read_file(f"{self.path}/memory.events")
        except OSError:
            return False
        return any(line.startswith(b"oom_kill ") and int(line.split()[1]) > 0 for line in events.splitlines())

    def memory_bytes(self) -> int | None:
        """Measure what everything inside uses; None without a memory controller."""
        try:
            return int(read_file(f"{self.path}/memory.current"))
        except (OSError, ValueError):
            return None

    def remove(self) -> bool:
        """Remove the directory; False while something lives inside."""
        try:
            os.rmdir(self.path)
            return True
        except FileNotFoundError:
            return True
        except OSError:
            pass
        # What ran inside may have made cgroups below (an Air-Executor in a task does).
        try:
            for directory, _, _ in os.walk(self.path, topdown=False):
                os.rmdir(directory)
        except OSError:
            return False
        return True


class CgroupParent:
    """The directory in which one fork server makes those of its attempts, and sits in the one of the next.

    A runner must be born inside: moved in afterwards, it might have forked already. Entering a cgroup takes the
    kernel 5 to 20 ms when none was entered lately (it waits for a grace period of all CPUs), so that is done
    ahead, after one start and before the next.
    """

    def __init__(self, home: str) -> None:
        """Create it under the directory `home`, the fork server's own cgroup, and enter. Raises OSError."""
        stat = read_stat(os.getpid())
        self.home = home
        self.path = find_parent_path(home, os.getpid(), stat.start_ticks if stat else 0)
        self._count = 0
        os.mkdir(self.path)
        self._has_memory_controller = _pass_on_memory_controller(home, self.path)
        self._seat: AttemptCgroup | None = None
        try:
            self._take_seat()
        except OSError:
            self.remove()
            raise

    def _take_seat(self) -> None:
        self._count += 1
        path = f"{self.path}/{self._count}"
        os.mkdir(path)
        seat = AttemptCgroup(path, self._has_memory_controller)
        try:
            seat.enter()
        except OSError:
            seat.remove()
            raise
        self._seat = seat

    def move_on(self) -> AttemptCgroup | None:
        """Leave the cgroup in which an attempt was just born and return it; until then nobody may kill it.

        None when there is no such cgroup or it cannot be left: the attempt is tracked without.
        """
        born_in, self._seat = self._seat, None
        if born_in is None:
            return None
        try:
            self._take_seat()
        except OSError:
            # Back home for good. If not even that works this process stays inside: nobody may hear of that cgroup.
            return born_in if self._go_home() else None
        return born_in

    def _go_home(self) -> bool:
        try:
            _write(f"{self.home}/cgroup.procs", b"0")
        except OSError:
            return False
        return True

    def leave(self) -> None:
        """Go home, remove what no attempt was born in. The rest is for whoever looks there how attempts went."""
        seat, self._seat = self._seat, None
        self._go_home()
        if seat is not None:
            seat.remove()
        with contextlib.suppress(OSError):
            os.rmdir(self.path)

    def remove(self) -> None:
        """Go home, remove what is empty; what kept processes live in stays, for a later server's `remove_leftovers`."""
        self._seat = None
        self._go_home()
        _remove_empty(self.path)


def find_parent_path(home: str, pid: int, start_ticks: int) -> str:
    """Tell where a process makes its cgroups that has a `CgroupParent` in `home`."""
    return f"{home}/{_PREFIX}{pid}-{start_ticks}"


def remove_abandoned(path: str, last_given: int) -> bool:
    """Remove the directory of a `CgroupParent` whose process is gone; False while something is left in there.

    :param last_given: number of the last cgroup that `move_on` returned. This and those before may hold an attempt, or
        the verdict about its memory, so they are left to whoever was given them.
    """
    try:
        for name in os.listdir(path):
            if name.isdigit() and int(name) > last_given:
                cgroup = AttemptCgroup(f"{path}/{name}")
                # Of one that is populated the empty cgroups below would be removed: those of a task that makes some.
                if cgroup.is_populated() is False:
                    cgroup.remove()
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _pass_on_memory_controller(home: str, path: str) -> bool:
    for directory in (home, path):
        try:
            _write(f"{directory}/cgroup.subtree_control", b"+memory")
        except OSError:
            # Not delegated, or processes live in `home` itself: limits are then kept by sampling.
            continue
    try:
        return b"memory" in read_file(f"{path}/cgroup.subtree_control").split()
    except OSError:
        return False


def create_cgroup_parent() -> CgroupParent | None:
    """Set up cgroups for a fork server; None where they cannot be used. Removes what dead servers left behind."""
    home = own_cgroup_directory()
    if home is None or not os.access(f"{home}/cgroup.procs", os.W_OK):
        return None
    remove_leftovers(home)
    try:
        return CgroupParent(home)
    except OSError:
        return None


def remove_leftovers(home: str) -> None:
    """Remove the empty cgroups of fork servers that no longer run."""
    try:
        names = os.listdir(home)
    except OSError:
        return
    for name in names:
        pid, _, start_ticks = name[len(_PREFIX) :].partition("-")
        if not (name.startswith(_PREFIX) and pid.isdigit() and start_ticks.isdigit()):
            continue
        # A live server may have made a directory that it has not entered yet.
        if not is_running(ProcessIdentity(int(pid), int(start_ticks), boot_id())):
            _remove_empty(f"{home}/{name}")


def _remove_empty(path: str) -> None:
    try:
        for name in os.listdir(path):
            if os.path.isdir(f"{path}/{name}"):
                AttemptCgroup(f"{path}/{name}").remove()
        os.rmdir(path)
    except OSError:
        # Something still lives in there: a later server comes back to it.
        return
