"""What stands before every answer of `air-executor serve`: who asks, by which name, from where, and what."""

from __future__ import annotations

import hmac
from collections.abc import Collection, MutableMapping
from typing import Any

from fastapi import Response

from air_executor.web.route import NO_STORE, Application, Receive, Scope, Send, answer_error

_METHODS = ("GET", "HEAD")
_MAX_REQUEST_BYTES = 16 * 1024
_HEADERS = {
    **NO_STORE,
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}


class Guard:
    """Lets through what a client of ours asks; a web page, whatever it makes its browser send, is refused."""

    def __init__(self, application: Application, hosts: Collection[str], token: bytes | None) -> None:
        """Stand before an application.

        :param hosts: what the header Host may say, in small letters.
        :param token: None asks for none.
        """
        self._application = application
        self._hosts = frozenset(host.encode("ascii") for host in hosts)
        self._expected = None if token is None else b"Bearer " + token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let the application answer."""
        if scope["type"] == "lifespan":
            await self._application(scope, receive, send)
            return
        if scope["type"] != "http":
            return

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                there = {key.lower() for key, _ in message["headers"]}
                more = ((key.lower().encode(), value.encode()) for key, value in _HEADERS.items())
                message = {
                    **message,
                    "headers": [*message["headers"], *(pair for pair in more if pair[0] not in there)],
                }
            await send(message)

        refusal = self._refuse(scope)
        await (refusal or self._application)(scope, receive, send_with_headers)

    def _refuse(self, scope: Scope) -> Response | None:
        headers: dict[bytes, list[bytes]] = {}
        for key, value in scope["headers"]:
            headers.setdefault(key.lower(), []).append(value)
        # First: a name that somebody else made point here is the sign of DNS rebinding.
        named = headers.get(b"host", ())
        if len(named) != 1 or named[0].lower() not in self._hosts:
            return answer_error(
                400, "this is not a name of this server: use the address that it printed, or --allow-host"
            )
        if any(not self._is_own(origin) for origin in headers.get(b"origin", ())) or any(
            site not in (b"none", b"same-origin") for site in headers.get(b"sec-fetch-site", ())
        ):
            return answer_error(403, "requests of web pages of other origins are refused")
        if self._expected is not None:
            given = headers.get(b"authorization", [b""])
            if len(given) != 1 or not hmac.compare_digest(given[0], self._expected):
                detail = (
                    "the token is missing or wrong: send the line in the token file as header, as by `curl -H @FILE`"
                )
                return answer_error(401, detail, {"WWW-Authenticate": "Bearer"})
        size = sum(len(key) + len(value) for key, value in scope["headers"])
        if size + len(scope.get("raw_path", b"")) + len(scope["query_string"]) > _MAX_REQUEST_BYTES:
            return answer_error(431, f"the request is longer than {_MAX_REQUEST_BYTES} bytes")
        if scope["method"] not in _METHODS:
            return answer_error(405, "this interface is read only: use GET", {"Allow": ", ".join(_METHODS)})
        if b"transfer-encoding" in headers or any(length != b"0" for length in headers.get(b"content-length", ())):
            return answer_error(413, "a request has no body here")
        return None

    def _is_own(self, origin: bytes) -> bool:
        scheme, _, host = origin.lower().partition(b"://")
        return scheme in (b"http", b"https") and host in self._hosts
