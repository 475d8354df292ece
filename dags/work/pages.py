"""Task of the DAG use_case_scraping: `pages.py URL NUMBER DIRECTORY` reads a page, keeps its articles, queues the pages it links to."""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from html.parser import HTMLParser
from pathlib import Path

from air_executor import queue_tasks


class Page(HTMLParser):
    """The articles and links of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.articles: list[dict] = []
        self.links: list[int] = []
        self._is_in_article = False

    def handle_starttag(self, tag: str, attrs: list) -> None:
        """Take an article's numbers, or a link."""
        found = dict(attrs)
        self._is_in_article = tag == "li"
        if tag == "li":
            self.articles.append({"number": int(found["data-number"]), "cents": int(found["data-cents"]), "name": ""})
        elif tag == "a" and found.get("href", "").startswith("/page/"):
            self.links.append(int(found["href"].rpartition("/")[2]))

    def handle_endtag(self, tag: str) -> None:
        """Leave an article."""
        self._is_in_article = self._is_in_article and tag != "li"

    def handle_data(self, data: str) -> None:
        """Take an article's name."""
        if self._is_in_article:
            self.articles[-1]["name"] += data


def scrape(url: str, number: int, directory: Path) -> None:
    """Read one page; a page that cannot be had now is an error, and the task's retries take care of it."""
    # Not through a proxy: the shop is on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{url}/page/{number}", timeout=30) as answer:
        page = Page()
        page.feed(answer.read().decode())
    path = directory / "pages" / f"{number:04}.json"
    aside = path.with_suffix(f".{os.getpid()}")
    aside.write_text(json.dumps(page.articles))
    aside.replace(path)
    # Several pages link to the same one. Its id is made of its number, so it is queued once, whoever is first.
    queue_tasks(
        {
            "id": f"page {link}",
            "command": sys.executable,
            "args": [__file__, url, str(link), str(directory)],
            "retries": 3,
            "retry_delay_s": 0.5,
        }
        for link in page.links
    )
    print(f"page {number}: {len(page.articles)} articles, links to {page.links}")


if __name__ == "__main__":
    scrape(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
