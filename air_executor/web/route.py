"""How errors become answers: one line each, without where the base path lies, in whatever application the routes are."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping, Sequence
from typing import Any

import msgspec
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from air_executor.errors import AirExecutorError, InvalidNameError, JobNotFoundError, RootError
from air_executor.web.answers import ErrorAnswer

_log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

NO_STORE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class TooManyStreamsError(AirExecutorError):
    """Too many event streams are open: close some, or ask for the progress instead."""


def make_route_class(hide_paths: Callable[[str], str]) -> type[APIRoute]:
    """Return a class of routes.

    :param hide_paths: takes paths of this machine out of a message.
    """

    class Route(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def answer(request: Request) -> Response:
                try:
                    return await handle(request)
                except RequestValidationError as error:
                    return answer_error(422, _first_fault(error))
                except RootError as error:
                    _log.error("%s", error)
                    return answer_error(503, "the base path cannot be used: the log of this server says why")
                except AirExecutorError as error:
                    return answer_error(_status_of(error), hide_paths(str(error)))
                except OSError as error:
                    _log.error("%s: %s", request.url.path, error)
                    return answer_error(
                        500, f"a file cannot be read ({error.strerror}): the log of this server says which"
                    )

            return answer

    return Route


def answer_error(status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    """Return an error of one line."""
    content = msgspec.json.encode(ErrorAnswer(detail=" ".join(detail.splitlines())))
    return Response(content, status, {**NO_STORE, **(headers or {})}, "application/json")


def answer_json(content: bytes) -> Response:
    """Return JSON that is encoded already."""
    return Response(content, headers=NO_STORE, media_type="application/json")


class PiecesResponse(Response):
    """JSON in pieces that are sent one after the other: putting megabytes together first costs more than sending them."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        length = str(sum(map(len, pieces)))
        super().__init__(headers={**NO_STORE, "Content-Length": length}, media_type="application/json")
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 # ASGI's signature
        """Send the answer."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for piece in self._pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _status_of(error: AirExecutorError) -> int:
    if isinstance(error, InvalidNameError):
        return 400
    if isinstance(error, JobNotFoundError):
        return 404
    return 503 if isinstance(error, TooManyStreamsError) else 500


def _first_fault(error: RequestValidationError) -> str:
    fault = error.errors()[0]
    where = ".".join(str(part) for part in fault["loc"][1:]) or "the request"
    return f"{where}: {fault['msg']}"
