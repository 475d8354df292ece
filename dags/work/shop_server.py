"""A small web shop for the DAG use_case_scraping, on a free port of this machine: `shop_server.py DIRECTORY`.

It writes its address into DIRECTORY/url. Each page links to its neighbours only, so nobody knows beforehand how many there
are; some articles are on several pages, and now and then a page cannot be had at the first request.
"""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PAGES = 24
NEW_ON_PAGE = 8
FEATURED = 6
REACH = 3
"""Pages that a page links to, before and after it."""
BUSY_PAGES = {7, 19}


class Shop(ThreadingHTTPServer):
    """Knows which pages have said that they are busy."""

    def __init__(self, directory: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.directory = directory
        self.busy = set(BUSY_PAGES)


class _Handler(BaseHTTPRequestHandler):
    server: Shop

    def do_GET(self) -> None:
        """Answer with a page."""
        _, _, name = self.path.rpartition("/")
        if self.path == "/health":
            self._answer(200, "application/json", json.dumps({"directory": str(self.server.directory)}))
        elif not self.path.startswith("/page/") or not name.isdigit() or not 1 <= int(name) <= PAGES:
            self._answer(404, "text/plain", "there is no such page")
        elif int(name) in self.server.busy:
            self.server.busy.discard(int(name))
            self._answer(503, "text/plain", "busy: try again")
        else:
            self._answer(200, "text/html", render_page(int(name)))

    def _answer(self, status: int, kind: str, text: str) -> None:
        content = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def render_page(page: int) -> str:
    """Return a page of the shop: its own articles, two that many pages show, and links."""
    own = range(FEATURED + (page - 1) * NEW_ON_PAGE + 1, FEATURED + page * NEW_ON_PAGE + 1)
    numbers = [page % FEATURED + 1, (page + 1) % FEATURED + 1, *own]
    articles = "".join(
        f'<li data-number="{number}" data-cents="{number * 37 % 1900 + 100}">Article {number}</li>'
        for number in numbers
    )
    near = [other for other in range(page - REACH, page + REACH + 1) if 1 <= other <= PAGES and other != page]
    links = "".join(f'<a href="/page/{other}">{other}</a> ' for other in near)
    return f"<!doctype html><title>Page {page}</title><ul>{articles}</ul><nav>{links}</nav>"


def main(directory: Path) -> None:
    """Serve until somebody ends the process."""
    shop = Shop(directory)
    aside = directory / "url.new"
    aside.write_text(f"http://127.0.0.1:{shop.server_port}")
    # Whole or not at all: others wait for it.
    aside.replace(directory / "url")
    print(f"serving on port {shop.server_port}", flush=True)
    shop.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
