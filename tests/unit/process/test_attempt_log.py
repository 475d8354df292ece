from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from air_executor.process.attempt_log import create_attempt_log, is_locked


def test_a_log_is_claimed_once_and_locked_from_birth(tmp_path: Path) -> None:
    path = str(tmp_path / "a.log")
    descriptor = create_attempt_log(path)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert not os.get_inheritable(descriptor)
    assert is_locked(path)
    with pytest.raises(FileExistsError):
        create_attempt_log(path)
    os.close(descriptor)
    assert not is_locked(path)
    with pytest.raises(FileExistsError):
        create_attempt_log(path)


def test_the_lock_lives_as_long_as_any_copy(tmp_path: Path) -> None:
    path = str(tmp_path / "a.log")
    descriptor = create_attempt_log(path)
    copy = os.dup(descriptor)
    os.close(descriptor)
    assert is_locked(path)
    os.close(copy)
    assert not is_locked(path)


def test_a_link_in_its_place_is_refused_and_not_taken_for_a_claim(tmp_path: Path) -> None:
    target = tmp_path / "target"
    path = tmp_path / "a.log"
    path.symlink_to(target)
    with pytest.raises(OSError, match="not a regular file") as refusal:
        create_attempt_log(str(path))
    assert not isinstance(refusal.value, FileExistsError)
    assert not target.exists()


def test_asking_for_the_lock_of_nothing_or_of_a_link_says_no(tmp_path: Path) -> None:
    assert not is_locked(str(tmp_path / "missing.log"))
    descriptor = create_attempt_log(str(tmp_path / "a.log"))
    (tmp_path / "link.log").symlink_to(tmp_path / "a.log")
    assert not is_locked(str(tmp_path / "link.log"))
    os.close(descriptor)
