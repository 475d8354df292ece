"""Parts of the page that need no browser, run by Node.js: Playwright's, which is there for the tests with one."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ELEMENTS = """
class Element {
  children = []; attributes = {}; hidden = false; textContent = "";
  get value() { return this.attributes.value; }
  setAttribute(name, value) { this.attributes[name] = value; }
  addEventListener() {}
  append(...texts) { this.textContent = texts.join(""); }
  replaceChildren(...children) { this.children = children; }
}
globalThis.document = { createElement: () => new Element(), activeElement: null };
"""
JOBS = """
const job = (name, state) => ({ name, state, labels: { kind: "task" }, created_at: "2026-01-01T00:00:00Z" });
const shown = () => chooser.element.children.map((option) => option.textContent.split(" · ")[1]);
"""


@pytest.fixture
def run(tmp_path: Path, page_directory: Path) -> Callable[[str], Any]:
    driver = pytest.importorskip("playwright._impl._driver", reason="Playwright, and so its Node.js, is not installed")
    node, _ = driver.compute_driver_executable()
    shutil.copytree(page_directory, tmp_path / "page")
    # In a browser the page's first script says so.
    (tmp_path / "package.json").write_text('{"type": "module"}')

    def run_code(code: str) -> Any:
        (tmp_path / "test.js").write_text(f"{code}\nconsole.log(JSON.stringify(seen));")
        done = subprocess.run([node, "test.js"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run_code


def test_what_changed_too_early_is_drawn_when_it_is_time(run: Callable[[str], Any]) -> None:
    seen = run("""
        import { makePace } from "./page/pace.js";
        let now = 1000;
        const pace = makePace(3000, () => now), seen = [];
        function look(at, hasChanged, isFinal = false, fails = false) {
          now = at;
          if (!pace.isDue(hasChanged, isFinal)) return;
          if (!fails) pace.drawn();
          seen.push(at);
        }
        look(1000, true);
        look(2000, false);
        look(3000, true);   // too early
        look(4000, false);  // due, and out of date
        look(9000, false);
        look(10000, true);
        look(11000, true, true);
        look(20000, true, false, true);  // an error
        look(23000, false);
        look(30000, false);
    """)

    assert seen == [1000, 4000, 10000, 11000, 20000, 23000]


def test_the_menu_of_jobs_says_how_each_is_now(run: Callable[[str], Any]) -> None:
    seen = run(f"""
        {ELEMENTS}
        const {{ jobChooser }} = await import("./page/job_chooser.js");
        const chooser = jobChooser("a", () => {{}}), seen = [];
        {JOBS}
        const look = (...jobs) => {{ chooser.offer(jobs); seen.push([chooser.element.hidden, ...shown()]); }};
        look(job("a", "working"));
        look(job("a", "working"), job("b", "waiting"));
        const option = chooser.element.children[0];
        look(job("a", "failed"), job("b", "working"));
        seen.push(option === chooser.element.children[0]);
        look(job("b", "working"), job("a", "failed"));
        document.activeElement = chooser.element;
        look(job("b", "completed"), job("a", "failed"));
        look(job("b", "completed"), job("a", "failed"), job("c", "waiting"));
    """)

    assert seen == [
        [True, "working"],
        [False, "working", "waiting"],
        [False, "failed", "working"],
        True,
        [False, "working", "failed"],
        [False, "completed", "failed"],
        [False, "completed", "failed"],
    ]
