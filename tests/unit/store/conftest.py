"""A root of its own for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from air_executor.store.root import Root


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root.open(tmp_path / "root")
