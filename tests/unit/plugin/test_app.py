"""What the plugin offers Airflow, and what its application serves."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from air_executor_plugin import AirExecutorPlugin
from air_executor_plugin.app import make_app
from fastapi.testclient import TestClient

HEAVY = ("fastapi", "starlette", "sqlalchemy", "air_executor", "pydantic", "msgspec")


def test_importing_the_plugin_imports_nothing_heavy():
    # Airflow's own plugin machinery first: what it needs is there in every process.
    code = (
        "import sys, threading, airflow.plugins_manager; before = set(sys.modules); import air_executor_plugin; "
        "print(*sorted(set(sys.modules) - before)); assert threading.active_count() == 1"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["air_executor_plugin"]


def test_views_are_on_all_places_and_their_addresses_relative():
    views = {view["destination"]: view for view in AirExecutorPlugin.external_views}

    assert set(views) == {"nav", "dag", "dag_run", "task_instance"}
    for view in views.values():
        # A leading slash would leave the path under which Airflow may be served.
        assert view["href"].startswith("air-executor/")
        assert not view["icon"].startswith("/")
    assert len({view["url_route"] for view in views.values()}) == len(views)


def test_a_view_of_a_task_instance_names_all_that_tells_it_from_others():
    view = next(view for view in AirExecutorPlugin.external_views if view["destination"] == "task_instance")

    assert re.findall(r"(\w+)=\{(\w+)\}", view["href"]) == [
        (name, name.upper()) for name in ("dag_id", "run_id", "task_id", "map_index")
    ]


def test_the_application_is_built_once_and_under_its_prefix():
    plugin = AirExecutorPlugin()

    (first,), (second,) = plugin.fastapi_apps, plugin.fastapi_apps

    assert first["app"] is second["app"]
    assert first["url_prefix"] == "/air-executor"


def test_the_page_loads_its_own_files_only(browser, page_directory):
    page = browser.get("/")

    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for name in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        assert browser.get(f"/{name}").status_code == 200
    for path in page_directory.glob("*.js"):
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|https?://", path.read_text()), (
            path
        )
        for name in re.findall(r'from "\./([^"]+)"', path.read_text()):
            assert browser.get(f"/{name}").headers["content-type"] == "text/javascript; charset=utf-8"


def test_a_file_that_has_not_changed_is_not_sent_again(browser):
    first = browser.get("/main.js")

    again = browser.get("/main.js", headers={"If-None-Match": first.headers["etag"]})

    assert again.status_code == 304
    assert again.content == b""
    assert browser.get("/main.js", headers={"If-None-Match": '"other"'}).content == first.content


@pytest.mark.parametrize("path", ["/__init__.py", "/../app.py", "/..%2Fapp.py", "/%2e%2e/access.py", "/page/main.js"])
def test_nothing_else_is_served(browser, path):
    assert browser.get(path).status_code == 404


def test_there_are_no_event_streams(browser, manager):
    manager.task_instances = {"sales"}

    assert browser.get("/api/jobs/sales-1/events").status_code == 404


def test_a_base_path_that_cannot_be_used_is_said_when_it_is_asked_for(tmp_path, monkeypatch, manager):
    path = tmp_path / "no-directory"
    path.write_text("")
    monkeypatch.setenv("AIR_EXECUTOR_BASE_PATH", str(path))
    app = make_app()
    from air_executor_plugin.access import get_user

    app.dependency_overrides[get_user] = lambda: "somebody"
    with TestClient(app) as client:
        answer = client.get("/api/jobs")

    assert answer.status_code == 503
    assert str(tmp_path) not in answer.text
