"""Single files: bounded, never through a link, whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import msgspec
import pytest

from air_executor.errors import DamagedFileError
from air_executor.store import files
from air_executor.store.files import create_file, decode_json, exchange, read_bytes, temporary_name


def test_what_is_not_a_plain_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe")
    assert read_bytes(tmp_path / "file")[0] == b"x"
    for name in ("link", "directory", "pipe"):
        with pytest.raises(DamagedFileError, match=f"{tmp_path / name}.*plain file"):
            read_bytes(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        read_bytes(tmp_path / "missing")


def test_what_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(files.MAX_FILE_BYTES + 1)
    with pytest.raises(DamagedFileError, match="more than the 268435456 that are read"):
        read_bytes(tmp_path / "huge")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b'"\xff"',
        b"\xef\xbb\xbf1",
        b"NaN",
        b"1" * 5000 + b"x",
        b"[1] 2",
    ],
    ids=[
        "empty",
        "torn",
        "lists in lists",
        "objects in objects",
        "not utf-8",
        "byte order mark",
        "nan",
        "digits",
        "two",
    ],
)
def test_what_is_not_json_is_damaged(content: bytes) -> None:
    with pytest.raises(DamagedFileError, match=r"/x/state.json: .*(correct|restore)"):
        decode_json(content, list[object], Path("/x/state.json"))


def test_a_huge_number_is_no_count() -> None:
    with pytest.raises(DamagedFileError, match="correct"):
        decode_json(b"[" + b"9" * 5000 + b"]", list[int], Path("/x"))


def test_a_wrong_field_is_named() -> None:
    class Thing(msgspec.Struct):
        sizes: list[int]

    with pytest.raises(DamagedFileError, match=r"/x: .*`int`.* at `\$\.sizes\[1\]`; correct that field"):
        decode_json(b'{"sizes": [1, "2"]}', Thing, Path("/x"))


def test_a_new_file_is_private_and_replaces_nothing(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        create_file(tmp_path / "new", [b"a", b"b"], durable=True)
    finally:
        os.umask(before)
    assert (tmp_path / "new").read_bytes() == b"ab"
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600
    (tmp_path / "link").symlink_to("elsewhere")
    for name in ("new", "link"):
        with pytest.raises(FileExistsError):
            create_file(tmp_path / name, b"x", durable=False)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("has_call", [True, False])
def test_two_files_swap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_call: bool) -> None:
    if not has_call:
        monkeypatch.setattr(files, "_renameat2", lambda: None)
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    exchange(tmp_path / "a", tmp_path / "b")
    assert ((tmp_path / "a").read_text(), (tmp_path / "b").read_text()) == ("b", "a")
    assert len(list(tmp_path.iterdir())) == 2
    with pytest.raises(FileNotFoundError):
        exchange(tmp_path / "a", tmp_path / "missing")
    assert (tmp_path / "a").read_text() == "b"


def test_a_file_system_without_the_call_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        files.ctypes.set_errno(errno.EINVAL)
        return -1

    monkeypatch.setattr(files, "_renameat2", lambda: refuse)
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    exchange(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_text() == "a"


def test_temporary_names_are_short_enough_and_differ() -> None:
    names = {temporary_name("j" * 300) for _ in range(100)}
    assert len(names) == 100
    assert max(map(len, names)) <= 255


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.EIO, errno.EACCES, errno.ENOMEM])
def test_what_says_nothing_of_a_file_does_not_call_it_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    (tmp_path / "file").write_bytes(b"x")

    def failing(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", failing)
    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        read_bytes(tmp_path / "file")
    assert caught.value.errno == number
