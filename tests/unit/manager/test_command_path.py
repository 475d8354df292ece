"""Where tasks look for programs, and for `air-executor`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from air_executor.manager import command_path
from air_executor.manager.command_path import find_command_directory, with_command


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/usr/bin:/bin", "/usr/bin:/bin:/venv/bin"),
        ("/venv/bin:/usr/bin", "/venv/bin:/usr/bin"),
        ("/usr/bin:/venv/bin", "/usr/bin:/venv/bin"),
        ("/venv/bin2", "/venv/bin2:/venv/bin"),
        ("", ":/venv/bin"),
        (None, "/usr/local/bin:/usr/bin:/bin:/venv/bin"),
    ],
)
def test_the_directory_comes_last_and_once(path: str | None, wanted: str) -> None:
    variables = {"HOME": "/root"} if path is None else {"HOME": "/root", "PATH": path}
    assert with_command(variables, "/venv/bin") == {"HOME": "/root", "PATH": wanted}


def test_without_the_command_nothing_changes() -> None:
    assert with_command({"HOME": "/root"}, None) == {"HOME": "/root"}


def test_it_is_found_beside_the_interpreter_or_among_the_scripts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    monkeypatch.setattr(command_path.sysconfig, "get_path", lambda name: str(tmp_path / name))
    assert find_command_directory() is None
    for directory in ("scripts", "bin"):
        command = tmp_path / directory / "air-executor"
        command.parent.mkdir()
        command.touch()
        assert find_command_directory() != str(command.parent)
        os.chmod(command, 0o755)
        assert find_command_directory() == str(command.parent)
