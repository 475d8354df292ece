from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

import pytest

from air_executor.store.paths import StorePath
from air_executor.store.root import Root


@pytest.mark.parametrize("text", ["/", "a", ".", "", "./a//b/../c/", "//a/b", "///a", "/a/./b", "a.tar.gz", "/ä/ö"])
def test_it_is_what_a_path_is(text):
    found, expected = StorePath(text), Path(text)
    assert str(found) == str(expected)
    assert os.fspath(found / "x" / "y.z") == os.fspath(expected / "x" / "y.z")
    assert (found.name, found.parts, found.suffix) == (expected.name, expected.parts, expected.suffix)
    assert str(found.parent) == str(expected.parent)
    assert found.is_absolute() == expected.is_absolute()


def test_nothing_is_kept_of_the_names_of_jobs(tmp_path):
    root = Root.open(tmp_path / "root")
    names = [f"job-{secrets.token_hex(16)}" for _ in range(3)]
    for name in names:
        path = root.job(name) / "state.json"
        assert os.fspath(path).endswith(f"{name}/state.json")
        assert path.parent.name == name
        assert (root.tmp / name).with_suffix(".x").name == f"{name}.x"
    for name in names:
        # Interning a copy gives the copy only if nobody has interned that text before.
        copy = "".join(list(name))
        assert sys.intern(copy) is copy
