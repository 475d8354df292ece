"""A root of its own for each test, and no process left when it is over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.manager import ManagedRoot


@pytest.fixture
def managed(tmp_path: Path) -> Iterator[ManagedRoot]:
    managed = ManagedRoot(tmp_path / "root")
    yield managed
    managed.clean_up()
