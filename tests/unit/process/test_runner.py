from __future__ import annotations

from pathlib import Path

import pytest

from air_executor.process.runner import CannotStartError, find_program


def make_program(directory: Path, name: str, mode: int = 0o755) -> Path:
    directory.mkdir(exist_ok=True)
    program = directory / name
    program.write_text("#!/bin/sh\n")
    program.chmod(mode)
    return program


def test_the_first_match_in_path_order_wins(tmp_path: Path) -> None:
    first = make_program(tmp_path / "a", "tool")
    make_program(tmp_path / "b", "tool")
    assert find_program("tool", f"{tmp_path}/none:{tmp_path}/a:{tmp_path}/b") == str(first)


def test_directories_are_no_programs(tmp_path: Path) -> None:
    (tmp_path / "a" / "tool").mkdir(parents=True)
    program = make_program(tmp_path / "b", "tool")
    assert find_program("tool", f"{tmp_path}/a:{tmp_path}/b") == str(program)


def test_a_command_with_a_slash_is_not_searched(tmp_path: Path) -> None:
    assert find_program("./tool", str(tmp_path)) == "./tool"


def test_an_empty_entry_is_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_program(tmp_path, "tool")
    monkeypatch.chdir(tmp_path)
    assert find_program("tool", "/nowhere:") == "./tool"


@pytest.mark.parametrize("command", ["nope", ""])
def test_what_is_not_found_is_named_with_the_path_searched(command: str) -> None:
    with pytest.raises(CannotStartError, match=r"command not found: .*PATH is /nowhere"):
        find_program(command, "/nowhere")
