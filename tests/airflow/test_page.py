"""The page in Airflow's web UI as people see it: a real Airflow, a real browser, real jobs.

`AIR_TEST_SCREENSHOTS=DIRECTORY` keeps pictures of the page for somebody to look at.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright", reason="Playwright is not installed")

from playwright.sync_api import expect

from air_executor.client import AirExecutorClient
from air_executor.core.specs import JobOptions, JobSpec, TaskSpec
from tests.airflow.conftest import Stage
from tests.support.browser import Login, find_chromium, open_airflow, start_chromium
from tests.support.waiting import wait_until

pytestmark = pytest.mark.only_air
expect.set_options(timeout=90_000)

DAG_ID, TASK_ID = "kinds", "bash"
HOSTILE = "<img src=x onerror=alert(1)>"
MANY = 10_000


@dataclass
class Work:
    """Jobs that stand for work handed over by a task instance of a real DAG run."""

    client: AirExecutorClient
    run_id: str
    handed_over: str = "customers-2026-11-20"
    hostile: str = "hostile-names"
    large: str = "ten-thousand"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium is installed; $AIR_TEST_CHROMIUM may name one")
    # Not for longer than this module: while it runs, no test can have an event loop of its own.
    with start_chromium(program) as browser:
        yield browser


@pytest.fixture(scope="module")
def work(stage: Stage) -> Iterator[Work]:
    client = AirExecutorClient(stage.site.base_path)
    stage.site.wait_for_manager()
    work = Work(client, stage.runs[DAG_ID])
    labels = {"kind": "hand-over", "dag_id": DAG_ID, "run_id": work.run_id, "task_id": TASK_ID, "map_index": "-1"}
    shell = ("-c", "echo reading part $0; sleep 0.1; echo done")
    tasks = [TaskSpec(id=f"part-{number:03}", command="sh", args=(*shell, str(number))) for number in range(1, 31)]
    tasks += [
        TaskSpec(
            id=f"broken-{number}", command="sh", args=("-c", "echo row 17 has no amount >&2; exit 3"), retries=number
        )
        for number in range(2)
    ]
    # Writes and waits for the rest of the test, so that its log can be followed.
    tasks.append(
        TaskSpec(id="slow", command="sh", args=("-c", "for n in $(seq 100000); do echo line $n; sleep 0.1; done"))
    )
    client.submit(JobSpec(name=work.handed_over, tasks=tuple(tasks), labels={**labels, "try_number": "1"}))
    client.submit(
        JobSpec(
            name=work.hostile,
            tasks=(TaskSpec(id=HOSTILE, command="sh", args=("-c", f"echo '{HOSTILE}'; echo '{HOSTILE}' >&2; exit 1")),),
            labels={"kind": HOSTILE},
        )
    )
    client.submit(
        JobSpec(
            name=work.large,
            tasks=tuple(
                TaskSpec(id=f"task-{number:05}", command="sleep", args=("0.05",)) for number in range(1, MANY + 1)
            ),
            options=JobOptions(max_parallel=2),
        )
    )
    yield work
    for name in (work.handed_over, work.large):
        client.cancel(name)


@pytest.fixture(scope="module")
def log_in(stage: Stage, chromium: Any) -> Any:
    passwords = json.loads((stage.site.home / "passwords.json").read_text())
    logins = {name: Login(stage.site.url, name, password) for name, password in passwords.items()}

    def open_as(username: str = "admin", **options: Any) -> AbstractContextManager[Any]:
        return open_airflow(chromium, logins[username], **options)

    return open_as


def open_jobs(page: Any) -> Any:
    """Go to the page of all jobs by the navigation and return its frame."""
    page.get_by_text("Air Jobs").click()
    return page.frame_locator("iframe[title='Air Jobs']")


def open_tab(page: Any, stage: Stage, path: str) -> Any:
    """Go to a page of Airflow, open the tab there, and return its frame."""
    page.goto(f"{stage.site.url}/dags/{path}")
    # By an event: while Airflow draws its graph, nothing on its page stands still for a mouse.
    page.get_by_role("link", name="Air-Executor", exact=True).dispatch_event("click")
    return page.frame_locator("iframe[title='Air-Executor']")


def row(frame: Any, text: str) -> Any:
    """Return the row of the list of jobs with this text in it."""
    return frame.locator("tbody tr", has_text=text)


def tasks_of(frame: Any) -> Any:
    """Return the rows of the list of tasks that are in sight, and a few around them."""
    return frame.get_by_role("listbox", name="Tasks").locator(".task:visible")


def keep_picture(page: Any, name: str) -> None:
    directory = os.environ.get("AIR_TEST_SCREENSHOTS")
    if directory:
        page.screenshot(path=Path(directory) / f"{name}.png")


@pytest.mark.core
def test_the_navigation_leads_to_all_jobs(stage, work, log_in):
    with log_in() as page:
        frame = open_jobs(page)

        expect(frame.get_by_role("heading", name="Air-Executor")).to_be_visible()
        expect(frame.locator(".manager")).to_contain_text("Manager runs")
        line = row(frame, work.handed_over)
        expect(line.locator(".state")).to_have_text("Working")
        expect(line.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "96.9")
        expect(line.locator("td").nth(3)).to_have_text("32 / 33")
        expect(line.locator("td").nth(4)).to_have_text("1")
        expect(line.locator("td").nth(5)).to_have_text("2")
        # What Airflow runs itself is there under the names that people know, though perhaps not on the first page.
        frame.get_by_role("searchbox").fill("exits_7")
        expect(row(frame, "exits_7").first).to_be_visible()
        keep_picture(page, "jobs-light")


@pytest.mark.core
def test_the_tab_of_a_task_instance_shows_what_it_handed_over(stage, work, log_in):
    with log_in() as page:
        frame = open_tab(page, stage, f"{DAG_ID}/runs/{work.run_id}/tasks/{TASK_ID}")

        expect(frame.get_by_role("heading", name=work.handed_over)).to_be_visible()
        frame.get_by_role("button", name="failed 2").click()
        tasks = tasks_of(frame)
        expect(tasks).to_have_count(2)
        expect(tasks.first).to_contain_text("exit code 3")

        tasks.first.click()

        panel = frame.get_by_role("complementary", name="Task")
        expect(panel.locator(".failure")).to_contain_text("exit code 3")
        expect(panel.locator(".failure")).to_contain_text("row 17 has no amount")
        expect(panel.locator("pre")).to_have_text(re.compile("row 17 has no amount"))
        # The job that ran the task instance itself can be chosen too.
        expect(frame.get_by_role("combobox", name="Job").locator("option")).to_have_count(2)
        keep_picture(page, "task-instance-light")


def test_the_tab_of_a_dag_run_lists_its_jobs_and_no_others(stage, work, log_in):
    with log_in() as page:
        frame = open_tab(page, stage, f"{DAG_ID}/runs/{work.run_id}")

        expect(row(frame, work.handed_over)).to_be_visible()
        expect(row(frame, "fails_once").first).to_be_visible()
        expect(row(frame, "always_fails")).to_have_count(0)

        frame.get_by_role("combobox", name="Kind of job").select_option("hand-over")

        expect(frame.locator("tbody tr")).to_have_count(1)


def test_a_mapped_task_instance_has_its_own_job(stage, work, log_in):
    stage.api.wait_for_run(DAG_ID, work.run_id)
    with log_in() as page:
        frame = open_tab(page, stage, f"{DAG_ID}/runs/{work.run_id}/tasks/square/mapped/2")

        expect(frame.get_by_role("heading", name="square [2]")).to_be_visible()


def test_tasks_are_found_filtered_and_sorted(stage, work, log_in):
    with log_in() as page:
        frame = open_jobs(page)
        row(frame, work.handed_over).get_by_role("link").click()
        tasks = tasks_of(frame)

        frame.get_by_role("searchbox").fill("part-01")
        expect(tasks).to_have_count(10)
        expect(tasks.first).to_contain_text("part-010")
        frame.get_by_role("button", name="Sort by Task").click()
        expect(tasks.first).to_contain_text("part-019")

        frame.get_by_role("searchbox").fill("no such task")
        expect(frame.get_by_text("No task matches")).to_be_visible()

        # The address says what is shown, so the browser's way back leads out of the job.
        page.evaluate("() => history.back()")
        expect(row(frame, work.handed_over)).to_be_visible()


def test_the_log_of_a_running_task_is_followed(stage, work, log_in):
    with log_in() as page:
        frame = open_jobs(page)
        row(frame, work.handed_over).get_by_role("link").click()
        frame.get_by_role("searchbox").fill("slow")
        tasks_of(frame).filter(has_text="slow").click()
        log = frame.get_by_label("Log", exact=True)
        expect(log).to_contain_text("line 1\n")
        written = int(re.findall(r"line (\d+)", log.inner_text())[-1])

        expect(log).to_contain_text(f"line {written + 15}\n")

        at_end = "element => element.scrollHeight - element.scrollTop - element.clientHeight < 8"
        wait_until(lambda: log.evaluate(at_end), what="the log to be at its end")
        log.evaluate("element => { element.scrollTop = 0; }")
        expect(frame.get_by_label("Follow")).not_to_be_checked()


def test_everything_can_be_done_by_keyboard(stage, work, log_in):
    with log_in() as page:
        frame = open_jobs(page)
        link = row(frame, work.handed_over).get_by_role("link")
        link.focus()
        page.keyboard.press("Enter")
        chosen = frame.locator("[role=option][aria-selected=true]")
        frame.get_by_role("listbox", name="Tasks").focus()
        expect(tasks_of(frame).first).to_contain_text("part-001")

        page.keyboard.press("ArrowDown")
        expect(chosen).to_contain_text("part-001")
        page.keyboard.press("End")
        expect(chosen).to_contain_text("slow")
        page.keyboard.press("Escape")
        expect(chosen).to_have_count(0)
        page.keyboard.press("/")
        expect(frame.get_by_role("searchbox")).to_be_focused()


def test_names_errors_and_logs_are_text_whatever_they_hold(stage, work, log_in):
    wait_until(lambda: work.client.job(work.hostile).state.is_terminal, what="the end of the hostile job")
    with log_in() as page:
        frame = open_jobs(page)
        expect(row(frame, work.hostile)).to_contain_text(HOSTILE)
        row(frame, work.hostile).get_by_role("link").click()

        # A job of one task opens it.
        panel = frame.get_by_role("complementary", name="Task")
        expect(panel.get_by_role("heading")).to_have_text(HOSTILE)
        expect(panel.locator(".failure")).to_contain_text(HOSTILE)
        expect(panel.locator("pre")).to_contain_text(HOSTILE)
        expect(tasks_of(frame)).to_contain_text(HOSTILE)
        assert frame.locator("img").count() == 0


def test_ten_thousand_tasks_do_not_freeze_the_page(stage, work, log_in, record_property, capsys):
    with log_in() as page:
        frame = open_jobs(page)
        row(frame, work.large).get_by_role("link").click()
        expect(frame.get_by_role("button", name="All 10,000")).to_be_visible()
        expect(tasks_of(frame).first).to_contain_text("task-00001")
        listbox = frame.get_by_role("listbox", name="Tasks")
        frame.locator("body").evaluate(
            "() => { window.freezes = []; new PerformanceObserver((list) => window.freezes.push("
            "...list.getEntries().map((entry) => entry.duration))).observe({type: 'longtask', buffered: true}); }"
        )

        for place in (0.25, 0.5, 0.75, 1):
            listbox.evaluate(f"element => {{ element.scrollTop = element.scrollHeight * {place}; }}")
            number = min(MANY, int(MANY * place) + 2)
            expect(frame.get_by_text(f"task-{number:05}", exact=True)).to_be_visible()
        frame.get_by_role("searchbox").fill("task-09999")
        expect(tasks_of(frame)).to_have_count(1)
        frame.get_by_role("searchbox").fill("")
        expect(frame.get_by_text("task-00001", exact=True)).to_be_visible()
        expect(frame.get_by_role("img", name="When the tasks ran")).to_be_visible()
        done = frame.locator("[data-figure=completed] dd")
        before = done.inner_text()
        expect(done).not_to_have_text(before)

        assert tasks_of(frame).count() < 200
        freezes = frame.locator("body").evaluate("() => window.freezes")
        figure = f"{len(freezes)} long tasks, the longest {max(freezes, default=0):.0f} ms"
        record_property("long_tasks", figure)
        with capsys.disabled():
            print(f"\n10,000 tasks, live: {figure}")
        keep_picture(page, "ten-thousand-light")


def test_the_page_follows_airflows_theme(stage, work, log_in):
    with log_in(color_scheme="dark") as page:
        frame = open_jobs(page)
        expect(row(frame, work.handed_over)).to_be_visible()
        shown = frame.locator("html")
        expect(shown).to_have_attribute("data-theme", "dark")
        ground = "element => getComputedStyle(element).backgroundColor"
        assert frame.locator("body").evaluate(ground) == page.locator("html").evaluate(ground)
        keep_picture(page, "jobs-dark")
        row(frame, work.handed_over).get_by_role("link").click()
        frame.get_by_role("searchbox").fill("broken")
        tasks_of(frame).filter(has_text="broken-1").click()
        expect(frame.get_by_label("Log", exact=True)).to_contain_text("row 17")
        keep_picture(page, "job-dark")

        # As Airflow's own switch does it.
        page.evaluate("() => document.documentElement.classList.replace('dark', 'light')")

        expect(shown).to_have_attribute("data-theme", "light")


def test_what_is_wrong_is_said_with_its_remedy(stage, work, log_in):
    with log_in() as page:
        page.route("**/air-executor/api/manager", lambda route: route.fulfill(json={"running": False}))
        frame = open_jobs(page)
        expect(frame.locator(".notice.warning")).to_contain_text("air-executor manager start")

        page.route("**/air-executor/api/jobs?**", lambda route: route.fulfill(status=401, json={"detail": "x"}))
        expect(frame.locator(".notice.error")).to_contain_text("log in again")
        page.unroute("**/air-executor/api/jobs?**")
        page.unroute("**/air-executor/api/manager")

        expect(frame.locator(".notice.error")).to_be_hidden()
        expect(frame.locator(".notice.warning")).to_be_hidden()


def test_a_user_without_permissions_sees_no_job(stage, work, log_in):
    with log_in("nobody") as page:
        page.goto(f"{stage.site.url}/air-executor/")

        expect(page.get_by_text("No jobs yet")).to_be_visible()
        answer = page.request.get(f"{stage.site.url}/air-executor/api/jobs/{work.handed_over}")
        assert answer.status == 404
        assert page.request.get(f"{stage.site.url}/air-executor/api/jobs").json()["total"] == 0


def test_a_viewer_sees_jobs(stage, work, log_in):
    with log_in("viewer") as page:
        assert page.request.get(f"{stage.site.url}/air-executor/api/jobs/{work.handed_over}").status == 200
        assert page.request.get(f"{stage.site.url}/air-executor/api/jobs").json()["total"] > 2


@pytest.mark.parametrize(
    "path", ["", "main.js", "api/jobs", "api/manager", "api/jobs/customers-2026-11-20/tasks/slow/log"]
)
def test_without_login_there_is_nothing(stage, chromium, path):
    context = chromium.new_context()
    answer = context.request.get(f"{stage.site.url}/air-executor/{path}")

    assert answer.status == 401
    context.close()
