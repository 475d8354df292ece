"""Environments are shared by digest and private."""

from __future__ import annotations

import os

import pytest

from air_executor.errors import DamagedFileError
from air_executor.store.environments import load_environment, save_environment
from air_executor.store.root import Root
from tests.support.processes import at_once


def test_what_is_kept_comes_back_and_is_for_its_owner_alone(root: Root) -> None:
    before = os.umask(0)
    try:
        digest = save_environment(root, "/usr/bin/python3", {"B": "2", "TOKEN": "secret"}, "/work")
    finally:
        os.umask(before)
    found = load_environment(root, digest)
    assert (found.python, found.variables, found.cwd) == ("/usr/bin/python3", {"B": "2", "TOKEN": "secret"}, "/work")
    [path] = root.environments.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert "secret" not in path.name


def test_the_same_environment_is_kept_once(root: Root) -> None:
    first = save_environment(root, "/p", {"A": "1", "B": "2"}, "/")
    assert save_environment(root, "/p", {"B": "2", "A": "1"}, "/") == first
    assert save_environment(root, "/p", {"A": "1", "B": "3"}, "/") != first
    assert len(list(root.environments.iterdir())) == 2


def test_many_may_keep_it_at_once(root: Root) -> None:
    digests = at_once(20, lambda number: save_environment(root, "/p", {"N": str(number % 2)}, "/"))
    assert len(set(digests)) == 2
    assert len(list(root.environments.iterdir())) == 2
    assert list(root.tmp.iterdir()) == []


def test_variables_that_are_not_unicode_are_kept(root: Root) -> None:
    # os.environ holds them so; programs must get the same bytes again.
    digest = save_environment(root, "/p", {"NAME": os.fsdecode(b"caf\xe9")}, "/")
    assert os.fsencode(load_environment(root, digest).variables["NAME"]) == b"caf\xe9"


@pytest.mark.parametrize("digest", ["0" * 32, "../manager", "..", "", "a/b"])
def test_one_that_is_not_there_is_named(root: Root, digest: str) -> None:
    with pytest.raises(DamagedFileError, match="submit the job again"):
        load_environment(root, digest)


def test_a_damaged_one_is_named(root: Root) -> None:
    digest = save_environment(root, "/p", {}, "/")
    path = root.environments / f"{digest}.json"
    path.write_text('{"python": 1}')
    with pytest.raises(DamagedFileError, match=f"{path}: .*python"):
        load_environment(root, digest)
