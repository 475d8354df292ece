from __future__ import annotations

from air_executor.cli.plain_text import show_command, show_plain, split_error


def test_a_terminal_is_not_told_what_to_do() -> None:
    assert show_plain("a\x1b[2Jb\nc") == "a\\x1b[2Jb\\nc"
    assert show_command("echo", ("a b", "\x07")) == "echo 'a b' '\\x07'"


def test_an_error_is_split_into_cause_and_quoted_lines() -> None:
    assert split_error("exit code 1; last lines: one\ntwo") == ("exit code 1", ["one", "two"])
    assert split_error(None) == ("", [])
