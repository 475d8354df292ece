"""`air-executor serve`."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from air_executor.cli.options import base_path_option, open_client
from air_executor.cli.output import note
from air_executor.core.addresses import is_loopback
from air_executor.errors import ConfigurationError

if TYPE_CHECKING:
    import socket

_PORT = 8797
"""Of Airflow 8080, 8793, 8794 and 8974 are taken."""


@click.command()
@base_path_option
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=_PORT, show_default=True, help="0: a free one.")
@click.option(
    "--socket",
    "socket_path",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Listen on this socket file instead; its directory must be yours alone.",
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="File with the token; made if it is missing.  [default: http.token in the base path]",
)
@click.option("--no-token", is_flag=True, help="Ask for no token; only with --socket.")
@click.option(
    "--allow-host",
    "allowed_hosts",
    multiple=True,
    metavar="NAME[:PORT]",
    help="A further name by which clients may call this server; can be given several times.",
)
@click.option(
    "--expose",
    is_flag=True,
    help="Allow an address that other machines reach. Token and answers are not encrypted: put a TLS proxy before it.",
)
@click.option("--max-connections", type=click.IntRange(1, 10_000), default=128, show_default=True, metavar="N")
def serve(
    base_path: Path,
    host: str,
    port: int,
    socket_path: Path | None,
    token_file: Path | None,
    no_token: bool,
    allowed_hosts: tuple[str, ...],
    expose: bool,
    max_connections: int,
) -> None:
    """Answer over HTTP what the jobs do, read only, until Ctrl-C.

    Listens on this machine alone and asks for a token, which is kept in a file that only you can read.
    """
    _require_extra()
    from air_executor.web.app import make_app
    from air_executor.web.bearer import FILE_NAME, find_token
    from air_executor.web.feeds import Feeds
    from air_executor.web.server import run_server

    if no_token and socket_path is None:
        raise click.UsageError("--no-token is for --socket: whoever is on this machine could ask")
    if socket_path is None and not is_loopback(host) and not expose:
        raise click.UsageError(
            f"--host {host}: other machines may reach it, and token and answers are not encrypted; "
            "put a TLS proxy before 127.0.0.1, or say --expose"
        )
    client = open_client(base_path, create=True)
    path = None if no_token else (token_file or client.base_path / FILE_NAME).absolute()
    token = None if path is None else find_token(path)
    feeds = Feeds(max_listeners=max(max_connections // 2, 1))
    with _listening(host, port, socket_path) as listener:
        own_hosts, curl = _addresses(host, listener, socket_path)
        app = make_app(client, feeds, {*own_hosts, *_checked(allowed_hosts)}, token)
        note(f"serving {client.base_path}; Ctrl-C stops")
        header = "" if path is None else f"-H @{shlex.quote(str(path))} "
        note(f"  curl {header}{curl}")
        run_server(app, feeds, listener, max_connections)


@contextlib.contextmanager
def _listening(host: str, port: int, socket_path: Path | None) -> Iterator[socket.socket]:
    from air_executor.web.listening import listen_on_port, listening_on_file

    if socket_path is not None:
        with listening_on_file(socket_path.absolute()) as listener:
            yield listener
        return
    with listen_on_port(host, port) as listener:
        yield listener


def _addresses(host: str, listener: socket.socket, socket_path: Path | None) -> tuple[set[str], str]:
    """Return what the header Host may say, and what follows `curl`."""
    if socket_path is not None:
        return {"localhost"}, f"--unix-socket {shlex.quote(str(socket_path.absolute()))} http://localhost/jobs"
    port = listener.getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    names = {shown.lower(), "127.0.0.1", "localhost", "[::1]"}
    return {f"{name}:{port}" for name in names} | (names if port == 80 else set()), f"http://{shown}:{port}/jobs"


def _checked(hosts: tuple[str, ...]) -> list[str]:
    for host in hosts:
        if not host.isascii() or not host.isprintable() or any(char in host for char in " /*,@"):
            raise click.UsageError(
                f"--allow-host {host}: give a name as it stands in addresses, as jobs.example.org:8443"
            )
    return [host.lower() for host in hosts]


def _require_extra() -> None:
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ConfigurationError(
            f"serving needs the extra `web` ({error.name} is missing): pip install 'air-executor[web]'"
        ) from error
