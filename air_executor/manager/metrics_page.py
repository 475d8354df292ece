"""What the metrics endpoint answers: one page, for GET, under names that are its own. No sockets here."""

from __future__ import annotations

import ipaddress
import logging
import socket
from collections.abc import Callable, Mapping
from typing import NamedTuple

from air_executor.core.addresses import is_loopback

_log = logging.getLogger(__name__)

PATH = "/metrics"
_TEXT = "text/plain; charset=utf-8"

Render = Callable[[str], tuple[bytes, str]]
"""Return the metrics and their content type, given what the Accept header says."""


class Answer(NamedTuple):
    """A response."""

    status: int
    content_type: str
    body: bytes


def answer(method: str, target: str, headers: Mapping[str, str], bound_host: str, render: Render) -> Answer:
    """Return the response to a request.

    :param headers: by name in lower case.
    :param bound_host: the host that the endpoint listens on, as it was configured.
    """
    if not is_own_host(headers.get("host", ""), bound_host):
        # A web page may have had its own name resolved to this address, to read what it must not.
        return _refuse(403, "this host name is not served here: ask by the address")
    if "origin" in headers:
        return _refuse(403, "not for web pages")
    if target.partition("?")[0] != PATH:
        return _refuse(404, f"there is only {PATH}")
    if method != "GET":
        return _refuse(405, "only GET")
    try:
        body, content_type = render(headers.get("accept", ""))
    except Exception:
        # Whatever it is, it must not end the manager.
        _log.exception("the metrics could not be collected")
        return _refuse(500, "the metrics could not be collected; see manager.log")
    return Answer(200, content_type, body)


def is_own_host(host: str, bound_host: str) -> bool:
    """Claim that a Host header names this endpoint: an address, or a name that only the machine's owner gives out.

    An address cannot be rebound as a domain can. Where the endpoint listens on loopback, it must be a loopback address.
    """
    name = _without_port(host).lower()
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name in {"localhost", bound_host.lower(), *(() if is_loopback(bound_host) else (_machine(),))}
    return address.is_loopback or not is_loopback(bound_host)


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _machine() -> str:
    return socket.gethostname().lower()


def _refuse(status: int, reason: str) -> Answer:
    return Answer(status, _TEXT, f"{reason}\n".encode())
