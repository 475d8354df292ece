from __future__ import annotations

import os
from pathlib import Path

import pytest

from air_executor.process import cgroup
from air_executor.process.cgroup import (
    AttemptCgroup,
    CgroupParent,
    own_cgroup_directory,
    remove_abandoned,
    remove_leftovers,
)
from air_executor.process.procfs import read_stat

UNIFIED = "31 23 0:27 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw"
HYBRID = """30 23 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro
31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
32 30 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"""
CONTAINER = "31 23 0:27 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup ro"


@pytest.mark.parametrize(
    ("mounts", "memberships", "expected"),
    [
        (UNIFIED, "0::/user.slice/session-1.scope", "/sys/fs/cgroup/user.slice/session-1.scope"),
        (UNIFIED, "0::/", "/sys/fs/cgroup"),
        (HYBRID, "4:memory:/some\n0::/own", "/sys/fs/cgroup/unified/own"),
        (CONTAINER, "0::/docker/abc/task", "/sys/fs/cgroup/task"),
        (CONTAINER, "0::/docker/other", None),
        (UNIFIED, "0::/../sibling", None),
        (UNIFIED, "4:memory:/some", None),
        ("30 23 0:26 / / rw - ext4 /dev/vda rw", "0::/own", None),
    ],
)
def test_the_own_directory_is_found_on_every_kind_of_host(
    monkeypatch: pytest.MonkeyPatch, mounts: str, memberships: str, expected: str | None
) -> None:
    files = {"/proc/self/mountinfo": mounts.encode(), "/proc/self/cgroup": memberships.encode()}
    monkeypatch.setattr(cgroup, "read_file", files.__getitem__)
    assert own_cgroup_directory() == expected


def test_a_directory_that_cannot_be_entered_is_not_used_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"cgroup\.procs"):
        CgroupParent(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_only_what_dead_servers_left_empty_is_removed(tmp_path: Path) -> None:
    me = read_stat(os.getpid())
    assert me is not None
    alive = tmp_path / f"air-executor-{me.pid}-{me.start_ticks}"
    recycled = tmp_path / f"air-executor-{me.pid}-{me.start_ticks - 1}"
    foreign = tmp_path / "air-executor-of-somebody"
    for directory in (alive, recycled, foreign):
        (directory / "1").mkdir(parents=True)
    remove_leftovers(str(tmp_path))
    assert sorted(tmp_path.iterdir()) == sorted([alive, foreign])
    assert (alive / "1").exists()


def test_one_that_leaves_keeps_what_attempts_were_born_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A plain directory has no files to write to.
    monkeypatch.setattr(cgroup, "_write", lambda path, text: None)
    parent = CgroupParent(str(tmp_path))
    born_in = parent.move_on()
    assert born_in is not None
    parent.leave()
    assert [str(each) for each in Path(parent.path).iterdir()] == [born_in.path]
    os.rmdir(born_in.path)
    assert remove_abandoned(parent.path, 1)
    assert list(tmp_path.iterdir()) == []


def test_of_what_was_abandoned_only_what_nobody_was_given_is_removed(tmp_path: Path) -> None:
    parent = tmp_path / "air-executor-1-1"
    for name in ("1", "2", "3", "4/below"):
        (parent / name).mkdir(parents=True)
    (parent / "4" / "cgroup.events").write_text("populated 1\n")
    assert not remove_abandoned(str(parent), 2)
    assert sorted(each.name for each in parent.iterdir()) == ["1", "2", "4"]
    assert (parent / "4" / "below").exists()
    assert remove_abandoned(str(tmp_path / "gone"), 2)


def test_questions_about_a_removed_cgroup_have_answers(tmp_path: Path) -> None:
    gone = AttemptCgroup(str(tmp_path / "gone"))
    assert gone.is_populated() is False
    assert gone.pids() == []
    assert not gone.kill()
    assert not gone.ran_out_of_memory()
    assert gone.memory_bytes() is None
    assert not gone.limit_memory(1)
    assert gone.remove()
