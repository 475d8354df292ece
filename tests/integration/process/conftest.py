"""Fork servers for tests, and the certainty that no process outlives its test."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from air_executor.process.cgroup import own_cgroup_directory
from air_executor.process.protocol import Ready
from air_executor.process.spawn import command_server_argv
from air_executor.process.subreaper import become_subreaper
from tests.integration.process.serving import Serving

REPOSITORY = Path(__file__).resolve().parents[3]
HAS_CGROUPS = (home := own_cgroup_directory()) is not None and os.access(home, os.W_OK)

StartServer = Callable[..., Serving]


@pytest.fixture(autouse=True)
def nothing_outlives_the_test() -> Iterator[None]:
    # As the manager does: whatever a killed server leaves falls to this process.
    become_subreaper()
    me = psutil.Process()
    before = {child.pid for child in me.children(recursive=True)}
    yield
    while left := [child for child in me.children(recursive=True) if child.pid not in before]:
        for child in left:
            # A template goes with its fork server, and may just have gone.
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        for child in left:
            try:
                os.waitpid(child.pid, 0)
            except ChildProcessError:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.wait()


@pytest.fixture(params=["cgroups", "no cgroups"])
def use_cgroups(request: pytest.FixtureRequest) -> bool:
    wanted = bool(request.param == "cgroups")
    if wanted and not HAS_CGROUPS:
        pytest.skip("no cgroup v2 that this user may write")
    return wanted


@pytest.fixture
def start_server(tmp_path: Path, use_cgroups: bool) -> Iterator[StartServer]:
    servings = []

    def start(argv: list[str] | None = None) -> Serving:
        serving = Serving(tmp_path, argv or command_server_argv(), use_cgroups=use_cgroups)
        servings.append(serving)
        serving.wait_for(Ready)
        return serving

    yield start
    for serving in servings:
        serving.process.channel.close()


@pytest.fixture
def server(start_server: StartServer) -> Serving:
    return start_server()


@pytest.fixture
def forking_server(start_server: StartServer, monkeypatch: pytest.MonkeyPatch) -> Serving:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    return start_server([sys.executable, "-m", "tests.integration.process.forking_server"])
