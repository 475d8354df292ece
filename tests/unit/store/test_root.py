"""A base path is used only if it is ours and nobody else may write there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from air_executor.errors import InvalidNameError, RootError
from air_executor.store.root import Root

IS_ROOT = os.geteuid() == 0


def test_everything_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        root = Root.open(tmp_path / "a" / "root")
    finally:
        os.umask(before)
    for path in (root.path, root.jobs, root.requests, root.ended, root.environments, root.run, root.tmp):
        assert path.stat().st_mode & 0o777 == 0o700, path


def test_opening_again_changes_nothing(tmp_path: Path) -> None:
    root = Root.open(tmp_path / "root")
    (root.jobs / "a").mkdir()
    assert Root.open(tmp_path / "root").job_names() == ["a"]


def test_a_missing_root_is_not_made_when_it_is_only_to_be_read(tmp_path: Path) -> None:
    with pytest.raises(RootError, match="does not exist; start a manager there, or give another base path"):
        Root.open(tmp_path / "root", create=False)
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777, 0o1777, 0o720, 0o702])
@pytest.mark.parametrize("part", ["", "jobs", "requests", "tmp", "run", "ended", "environments"])
def test_what_others_may_write_to_is_refused_with_the_remedy(tmp_path: Path, mode: int, part: str) -> None:
    path = Root.open(tmp_path / "root").path / part
    path.chmod(mode)
    with pytest.raises(RootError, match=f"{path}: others may write to it; run `chmod go-w {path}`"):
        Root.open(tmp_path / "root")


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o711])
def test_what_others_may_read_is_closed_to_them(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "root"
    path.mkdir(mode=mode)
    path.chmod(mode)
    Root.open(path)
    assert path.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("part", ["", "jobs", "requests", "tmp", "run", "ended", "environments"])
def test_a_symbolic_link_is_refused(tmp_path: Path, part: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    path = tmp_path / "root"
    if part:
        path.mkdir(mode=0o700)
        path = path / part
    path.symlink_to(elsewhere)
    with pytest.raises(RootError, match="is a symbolic link"):
        Root.open(tmp_path / "root")
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("part", ["", "jobs"])
def test_a_file_in_its_place_is_refused(tmp_path: Path, part: str) -> None:
    path = tmp_path / "root"
    if part:
        path.mkdir(mode=0o700)
    (path / part if part else path).write_text("mine")
    with pytest.raises(RootError, match=r"not a directory|File exists|Not a directory"):
        Root.open(tmp_path / "root")


@pytest.mark.skipif(not IS_ROOT, reason="only root can give a directory to somebody else")
def test_a_root_of_somebody_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "root"
    path.mkdir(mode=0o700)
    os.chown(path, 12345, -1)
    with pytest.raises(RootError, match="belongs to user 12345, not to user 0; use a base path of your own"):
        Root.open(path)


@pytest.mark.skipif(IS_ROOT, reason="root may write anywhere")
def test_a_root_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    path = Root.open(tmp_path / "root").path
    path.chmod(0o500)
    try:
        with pytest.raises(RootError, match="cannot be written to; make it writable or give another base path"):
            Root.open(path)
    finally:
        path.chmod(0o700)


def test_a_root_that_the_system_says_is_read_only_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Root.open(tmp_path / "root")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(RootError, match="cannot be written to"):
        Root.open(tmp_path / "root")


@pytest.mark.parametrize("name", ["", ".", "..", "../up", "a/b", "/etc", "a\0", "a\nb", "a" * 201])
def test_hostile_names_have_no_path(tmp_path: Path, name: str) -> None:
    root = Root.open(tmp_path / "root")
    with pytest.raises(InvalidNameError):
        root.job(name)
    with pytest.raises(InvalidNameError):
        root.log(name, "task", 1)


def test_a_hostile_task_id_stays_in_its_logs(tmp_path: Path) -> None:
    root = Root.open(tmp_path / "root")
    for task_id in ("../../etc/passwd", "..", ".", "a/b", "a" * 200, "ä" * 100):
        log = root.log("job", task_id, 1)
        assert log.parent == root.jobs / "job" / "logs"
        assert len(os.fsencode(log.name)) <= 255


def test_names_that_no_job_has_are_not_listed(tmp_path: Path) -> None:
    root = Root.open(tmp_path / "root")
    for name in ("good", "bad name", "...", "ünicode"):
        (root.jobs / name).mkdir()
    assert root.job_names() == ["good"]
