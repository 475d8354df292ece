"""The processes of one attempt: finding them by every trace they may bear, signalling them, measuring them."""

from __future__ import annotations

import os
import signal
from collections.abc import Collection, Iterable

import msgspec

from air_executor.process import procfs
from air_executor.process.cgroup import AttemptCgroup
from air_executor.process.identity import ProcessIdentity, boot_id, send_signal
from air_executor.process.procfs import ProcessStat
from air_executor.process.protocol import MARK_VARIABLE, Started


class AttemptTree(msgspec.Struct, frozen=True, kw_only=True):
    """How to recognise the processes of one attempt."""

    attempt_id: str
    log_path: str
    runner: ProcessIdentity | None = None
    """The main process; None when nobody recorded it (claimed by a fork server that was killed at once)."""
    cgroup: str | None = None


def tree_of(started: Started) -> AttemptTree:
    """Describe the tree of an attempt from the record of its start."""
    return AttemptTree(
        attempt_id=started.attempt_id,
        log_path=started.log_path,
        runner=ProcessIdentity(started.pid, started.start_ticks, started.boot_id),
        cgroup=started.cgroup,
    )


def find_processes(
    tree: AttemptTree,
    *,
    spared: Collection[int] = (),
    runner_was_just_reaped: bool = False,
) -> list[ProcessStat]:
    """List the live processes of an attempt, from one look at /proc (about 0.1 ms per process on the machine).

    A process belongs if it is in the attempt's cgroup or session, bears its mark, can write to its log, or
    descends from one that does. Never the caller, init, or `spared` (the caller passes fork servers).
    Only processes of the caller's user are looked into, unless that is root.
    """
    processes = {pid: stat for pid, stat in procfs.list_processes().items() if not stat.has_ended}
    excluded = {1, os.getpid(), *spared}
    candidates = {pid: stat for pid, stat in processes.items() if pid not in excluded}
    members = set(_cheap_members(tree, candidates, runner_was_just_reaped))
    _add_descendants(members, candidates)
    members.update(pid for pid in candidates.keys() - members if _bears_trace(pid, tree, _log_key(tree.log_path)))
    _add_descendants(members, candidates)
    return [candidates[pid] for pid in sorted(members)]


def _cheap_members(
    tree: AttemptTree, candidates: dict[int, ProcessStat], runner_was_just_reaped: bool
) -> Iterable[int]:
    if tree.cgroup is not None:
        yield from (pid for pid in AttemptCgroup(tree.cgroup).pids() if pid in candidates)
    runner = tree.runner
    if runner is None or runner.boot_id != boot_id():
        return
    leader = procfs.read_stat(runner.pid)
    # Once a runner and all of its session are gone, a stranger may get its pid, and with it a session of that number.
    is_ours = runner_was_just_reaped if leader is None else leader.start_ticks == runner.start_ticks
    if not is_ours:
        return
    for pid, stat in candidates.items():
        if pid == runner.pid or stat.session == runner.pid:
            yield pid


def _add_descendants(members: set[int], candidates: dict[int, ProcessStat]) -> None:
    found = True
    while found:
        found = False
        for pid, stat in candidates.items():
            if pid not in members and stat.parent_pid in members:
                members.add(pid)
                found = True


def _log_key(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path, follow_symlinks=False)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _bears_trace(pid: int, tree: AttemptTree, log_key: tuple[int, int] | None) -> bool:
    try:
        owner = os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return False
    if os.geteuid() not in (0, owner):
        return False
    if procfs.has_environment_entry(pid, f"{MARK_VARIABLE}={tree.attempt_id}".encode()):
        return True
    return log_key is not None and procfs.can_write_to(pid, *log_key)


def find_runner(tree: AttemptTree, *, spared: Collection[int] = ()) -> ProcessIdentity | None:
    """Find the main process of an attempt whose start nobody recorded: its oldest session leader."""
    leaders = [stat for stat in find_processes(tree, spared=spared) if stat.session == stat.pid]
    if not leaders:
        return None
    oldest = min(leaders, key=lambda stat: (stat.start_ticks, stat.pid))
    return ProcessIdentity(oldest.pid, oldest.start_ticks, boot_id())


def signal_tree(
    tree: AttemptTree, signal_number: int = signal.SIGTERM, *, spared: Collection[int] = ()
) -> tuple[str, ...]:
    """Send one signal to every process of an attempt; names those it reached as `name (pid)`."""
    reached = []
    for stat in find_processes(tree, spared=spared):
        try:
            if send_signal(ProcessIdentity(stat.pid, stat.start_ticks, boot_id()), signal_number):
                reached.append(stat.label)
        except PermissionError:
            # It became another user (sudo): not ours to signal.
            continue
    return tuple(reached)


def memory_of(trees: Iterable[AttemptTree]) -> dict[str, int]:
    """Measure the memory of attempts in bytes, by attempt id, from one look at /proc for all of them.

    Counts what is in the cgroup or session of the runner or descends from it: what daemonised away is missed
    where there are no cgroups.
    """
    processes: dict[int, ProcessStat] | None = None
    measured = {}
    for tree in trees:
        size = AttemptCgroup(tree.cgroup).memory_bytes() if tree.cgroup is not None else None
        if size is None:
            if processes is None:
                processes = procfs.list_processes()
            members = set(_cheap_members(tree, processes, False))
            _add_descendants(members, processes)
            size = sum(procfs.memory_bytes(pid) for pid in members)
        measured[tree.attempt_id] = size
    return measured
