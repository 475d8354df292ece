"""The application under /air-executor: the page's files and the HTTP interface, all behind Airflow's login."""

from __future__ import annotations

import os
from functools import cache

from fastapi import Depends, FastAPI

from air_executor.airflow import compat
from air_executor.airflow.options import read_base_path
from air_executor.client import AirExecutorClient
from air_executor.web.api import make_router
from air_executor_plugin.access import find_readable, get_user
from air_executor_plugin.page_files import make_page_router


@cache
def get_app() -> FastAPI:
    """Return the application of this process."""
    return make_app()


def make_app() -> FastAPI:
    """Build the application; the base path is first opened by a request, so that a bad one cannot stop Airflow."""
    # Airflow has a page for its own interface; the tables of contents that FastAPI makes would be open to everybody.
    app = FastAPI(
        title="Air-Executor", docs_url=None, redoc_url=None, openapi_url=None, dependencies=[Depends(get_user)]
    )
    api = make_router(_open_client, may_read=find_readable)
    # Airflow's API server, when it is stopped, waits for every open answer, and a stream may be open for an hour.
    api.routes[:] = [route for route in api.routes if not getattr(route, "path", "").endswith("/events")]
    app.include_router(api, prefix="/api")
    app.include_router(make_page_router())
    return app


def _open_client() -> AirExecutorClient:
    return AirExecutorClient(read_base_path(lambda section, name: compat.read_setting(None, section, name), os.environ))
