from __future__ import annotations

import os
from pathlib import Path

import pytest

from air_executor.errors import ConfigurationError
from air_executor.web.bearer import find_token


def test_a_token_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "token"

    token = find_token(path)

    assert len(token) >= 40
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_bytes() == b"Authorization: Bearer " + token + b"\n"
    assert find_token(path) == token
    assert find_token(tmp_path / "other") != token


@pytest.mark.parametrize(
    "content", ["0123456789-0123456789", "  0123456789-0123456789\n\n", "Authorization: Bearer 0123456789-0123456789"]
)
def test_a_token_of_ones_own(tmp_path: Path, content: str) -> None:
    path = tmp_path / "token"
    path.write_text(content)
    path.chmod(0o600)

    assert find_token(path) == b"0123456789-0123456789"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602])
def test_one_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "token"
    find_token(path)
    path.chmod(mode)

    with pytest.raises(ConfigurationError, match="chmod 600"):
        find_token(path)


@pytest.mark.parametrize(
    "content", [b"", b"short", b"0123456789 0123456789", b"\xff" * 30, b"0123456789\n0123456789", b"x" * 5000]
)
def test_what_is_no_token_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    path.chmod(0o600)

    with pytest.raises(ConfigurationError, match="token"):
        find_token(path)


def test_links_pipes_and_directories_are_refused(tmp_path: Path) -> None:
    find_token(tmp_path / "elsewhere")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", ".", "missing/token"):
        with pytest.raises(ConfigurationError):
            find_token(tmp_path / name)
