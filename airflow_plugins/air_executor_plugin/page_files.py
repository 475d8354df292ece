"""Serves the files of the page: read once, few and small; no path of a request ever reaches the file system."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import NamedTuple

from fastapi import APIRouter, HTTPException, Request, Response

_MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_FIRST_PAGE = "index.html"
_HEADERS = {
    # Nothing but this page's own files runs or is loaded, whatever a job, a task or a log is called or holds.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    # Asked for each time, so that an upgrade is seen at once; what has not changed is not sent again.
    "Cache-Control": "private, no-cache",
}


class _File(NamedTuple):
    content: bytes
    media_type: str
    etag: str


def make_page_router() -> APIRouter:
    """Return the routes of the page and its files."""
    held = _read_files()
    router = APIRouter()

    @router.get("/")
    def show_page(request: Request) -> Response:
        """Return the page."""
        return _answer(held[_FIRST_PAGE], request)

    @router.get("/{name}")
    def send_file(name: str, request: Request) -> Response:
        """Return a file of the page."""
        if name not in held:
            raise HTTPException(404, "the page has no such file")
        return _answer(held[name], request)

    return router


def _read_files() -> dict[str, _File]:
    held = {}
    for path in files("air_executor_plugin").joinpath("page").iterdir():
        media_type = _MEDIA_TYPES.get("." + path.name.rpartition(".")[2])
        if media_type is not None:
            content = path.read_bytes()
            etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            held[path.name] = _File(content, f"{media_type}; charset=utf-8", etag)
    return held


def _answer(file: _File, request: Request) -> Response:
    headers = {**_HEADERS, "ETag": file.etag}
    if request.headers.get("if-none-match", "").removeprefix("W/") == file.etag:
        return Response(status_code=304, headers=headers)
    return Response(file.content, headers=headers, media_type=file.media_type)
