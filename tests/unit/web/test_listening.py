from __future__ import annotations

import socket
from pathlib import Path

import pytest

from air_executor.errors import ConfigurationError
from air_executor.web.listening import listen_on_port, listening_on_file


def test_a_port_that_is_taken_and_an_address_that_is_not_ours() -> None:
    with listen_on_port("127.0.0.1", 0) as listener, pytest.raises(ConfigurationError, match="--port"):
        listen_on_port("127.0.0.1", listener.getsockname()[1])
    with pytest.raises(ConfigurationError, match="--host"):
        listen_on_port("no such host", 0)


def test_a_socket_file_is_its_owners_alone_and_goes_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "own" / "http.sock"
    with listening_on_file(path):
        assert path.parent.stat().st_mode & 0o777 == 0o700
        assert path.stat().st_mode & 0o777 == 0o600
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
        with pytest.raises(ConfigurationError, match="listens there already"), listening_on_file(path):
            pass
    assert not path.exists()


def test_what_a_killed_server_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "own" / "http.sock"
    path.parent.mkdir(0o700)
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))

    with listening_on_file(path), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_directory_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(0o755)
    (tmp_path / "link").symlink_to(tmp_path / "own")
    (tmp_path / "own").mkdir(0o700)
    for name in ("open", "link", "missing/deeper"):
        with pytest.raises(ConfigurationError, match="--socket"), listening_on_file(tmp_path / name / "http.sock"):
            pass


def test_a_file_in_its_place_stays(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir(0o700)
    path = tmp_path / "own" / "http.sock"
    path.write_text("mine")

    with pytest.raises(ConfigurationError, match="is no socket"), listening_on_file(path):
        pass
    assert path.read_text() == "mine"


def test_a_path_that_is_too_long_is_named(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir(0o700)

    with (
        pytest.raises(ConfigurationError, match="choose another path"),
        listening_on_file(tmp_path / "own" / ("x" * 120)),
    ):
        pass
