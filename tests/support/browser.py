"""A headless Chromium that is logged in to a test's Airflow; Debian's own, driven by Playwright."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
_PATIENCE_MS = 90_000
# Chromium refuses its sandbox to root, and containers give it little shared memory.
_ARGUMENTS = ("--no-sandbox", "--disable-dev-shm-usage")


def find_chromium() -> str | None:
    """Return the path of a Chromium, None where there is none; $AIR_TEST_CHROMIUM comes first."""
    return os.environ.get("AIR_TEST_CHROMIUM") or next(filter(None, map(shutil.which, _PROGRAMS)), None)


@contextlib.contextmanager
def start_chromium(program: str) -> Iterator[Any]:
    """Start a browser and end it."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Login:
    """A user of an Airflow, and what the browser keeps of them once they have logged in."""

    url: str
    username: str
    password: str
    kept: Any = None


@contextlib.contextmanager
def open_airflow(browser: Any, login: Login, **options: Any) -> Iterator[Any]:
    """Open Airflow, log in as a person does where that is needed, and yield the page.

    It fails at its end if something went wrong in the browser.

    :param options: of the browser's window, such as `color_scheme`.
    """
    context = browser.new_context(viewport={"width": 1440, "height": 900}, storage_state=login.kept, **options)
    context.set_default_timeout(_PATIENCE_MS)
    faults: list[str] = []
    try:
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("dialog", lambda dialog: (faults.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("console", lambda line: faults.append(line.text) if "Content Security Policy" in line.text else None)
        page.goto(f"{login.url}/")
        if login.kept is None:
            page.locator("input[name=username]").fill(login.username)
            page.locator("input[name=password]").fill(login.password)
            page.locator("button[type=submit]").click()
            page.wait_for_url(lambda address: "login" not in address)
            login.kept = context.storage_state()
        yield page
    finally:
        context.close()
    assert not faults, faults
