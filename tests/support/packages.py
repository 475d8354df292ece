"""Packages that look installed, for tests of what warm parents load: a directory called site-packages, to be put on PYTHONPATH."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path


def install(directory: Path, version: str, modules: dict[str, str], *, name: str = "tested") -> None:
    """Install a distribution into `directory`, as pip would; another version of it is replaced.

    :param modules: source by name of module.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for old in directory.glob(f"{name}-*.dist-info"):
        shutil.rmtree(old)
    for module, source in modules.items():
        aside = directory / f".{module}.new"
        aside.write_text(source)
        aside.replace(directory / f"{module}.py")
    metadata = directory / f"{name}-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (metadata / "top_level.txt").write_text("\n".join(modules))
    (metadata / "RECORD").write_text("".join(f"{module}.py,,\n" for module in modules))


def settle(directory: Path) -> None:
    """Date a package directory back, so that nobody waits for an installation to end."""
    past = time.time() - 60
    os.utime(directory, (past, past))
