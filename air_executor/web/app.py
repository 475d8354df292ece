"""The application of `air-executor serve`: the routes behind the guard, and a page that tells of them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from fastapi import FastAPI, Response
from fastapi.exceptions import HTTPException
from fastapi.responses import PlainTextResponse

from air_executor import __version__
from air_executor.client import AirExecutorClient
from air_executor.web.api import make_router
from air_executor.web.feeds import Feeds
from air_executor.web.guard import Guard
from air_executor.web.route import Application, answer_error


def make_app(client: AirExecutorClient, feeds: Feeds, hosts: Collection[str], token: bytes | None) -> Application:
    """Return the application; `hosts` and `token` are for the guard."""
    # FastAPI's own pages load scripts from elsewhere.
    app = FastAPI(title="Air-Executor", version=__version__, docs_url=None, redoc_url=None)
    app.include_router(make_router(lambda: client, feeds=feeds))

    @app.get("/docs", include_in_schema=False)
    def describe() -> Response:
        return PlainTextResponse("\n".join(_described(app.openapi())) + "\n")

    @app.exception_handler(404)
    def tell_missing(_: Any, __: HTTPException) -> Response:
        return answer_error(404, "there is nothing here: GET /docs lists what there is")

    @app.exception_handler(500)
    def tell_fault(_: Any, __: Exception) -> Response:
        return answer_error(500, "something went wrong here: the log of this server says what")

    return Guard(app, hosts, token)


def _described(document: dict[str, Any]) -> list[str]:
    lines = [
        f"{document['info']['title']} {document['info']['version']}: read only, JSON. /openapi.json says more.",
        "",
    ]
    for path, methods in document["paths"].items():
        operation = methods["get"]
        lines += [f"GET {path}", f"    {operation['description']}"]
        lines += [f"    ?{_parameter(each)}" for each in operation.get("parameters", ()) if each["in"] == "query"]
    return lines


def _parameter(parameter: dict[str, Any]) -> str:
    default = parameter["schema"].get("default")
    value = "" if default is None else str(default).lower() if isinstance(default, bool) else str(default)
    description = parameter.get("description")
    return f"{parameter['name']}={value}" + (f"   {description}" if description else "")
