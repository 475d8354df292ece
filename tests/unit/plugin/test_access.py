"""Who sees which job."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from air_executor.core.specs import JobSpec, TaskSpec

JOB_PATHS = ("", "/progress", "/tasks", "/tasks/a/b", "/timeline")
LOG_PATH = "/tasks/a/b/log?attempt=0"


def names(browser, query: str = "") -> set[str]:
    answer = browser.get(f"/api/jobs{query}")
    assert answer.status_code == 200
    return {job["name"] for job in answer.json()["jobs"]}


@pytest.mark.parametrize(
    "path", ["/", "/main.js", "/icon.svg", "/nothing-there", "/api/jobs", "/api/jobs/sales-1", "/api/manager"]
)
def test_nobody_gets_anything_without_login(anonymous, path):
    assert anonymous.get(path).status_code == 401


def test_every_route_needs_a_login(anonymous):
    for route in anonymous.app.routes:
        path = route.path.replace("{name}", "sales-1").replace("{task_id:path}", "a")
        for method in route.methods:
            assert anonymous.request(method, path).status_code == 401, (method, path)


def test_only_reading_is_possible(anonymous):
    assert {method for route in anonymous.app.routes for method in route.methods} <= {"GET", "HEAD"}


def test_lists_hold_only_jobs_of_readable_dags(browser, manager):
    manager.task_instances = {"sales"}

    answer = browser.get("/api/jobs").json()

    assert [job["name"] for job in answer["jobs"]] == ["sales-1"]
    assert answer["total"] == 1
    assert sum(answer["counts"].values()) == 1


def test_a_label_or_a_name_does_not_get_around_the_permission(browser, manager):
    manager.task_instances = {"sales"}

    assert names(browser, "?label=dag_id:wages") == set()
    assert names(browser, "?q=wages") == set()


def test_jobs_of_no_dag_are_for_those_who_may_see_airflows_jobs(browser, manager):
    assert names(browser) == set()

    manager.may_see_views = True

    assert names(browser) == {"by-hand"}
    assert browser.get("/api/jobs/by-hand").status_code == 200


@pytest.mark.parametrize("path", JOB_PATHS)
def test_a_job_of_another_dag_is_not_there(browser, manager, path):
    manager.task_instances = {"sales"}
    manager.task_logs = {"sales", "wages"}

    assert browser.get(f"/api/jobs/sales-1{path}").status_code == 200
    refused = browser.get(f"/api/jobs/wages-1{path}")

    assert refused.status_code == 404
    missing = browser.get(f"/api/jobs/missing{path}")
    assert refused.json()["detail"].replace("wages-1", "missing") == missing.json()["detail"]


def test_logs_need_the_permission_for_logs(browser, manager, jobs):
    manager.task_instances = {"sales"}
    log = jobs.log_path("sales-1", "a/b", 0)
    log.parent.mkdir(exist_ok=True)
    log.write_text("what it wrote")

    refused = browser.get("/api/jobs/sales-1/tasks/a/b/log")
    manager.task_logs = {"sales"}
    allowed = browser.get("/api/jobs/sales-1/tasks/a/b/log")

    assert refused.status_code == 404
    assert allowed.status_code == 200
    assert allowed.text == "what it wrote"


@pytest.mark.parametrize("task_id", ["page?n=2", "page#2"])
def test_the_id_of_a_task_does_not_get_around_the_permission_for_logs(browser, manager, jobs, task_id):
    manager.task_instances = {"sales"}
    tasks = (TaskSpec(id=task_id, command="true"),)
    jobs.submit(JobSpec(name="sales-2", tasks=tasks, labels={"dag_id": "sales"}))
    path = f"/api/jobs/sales-2/tasks/{quote(task_id, safe='')}"

    assert browser.get(path).status_code == 200
    assert browser.get(f"{path}/log").status_code == 404


def test_a_page_of_many_jobs_is_judged_by_one_question(browser, manager):
    manager.task_instances = {"sales", "wages"}

    assert names(browser) == {"sales-1", "wages-1"}
    assert manager.asked == [None]


def test_permissions_are_asked_anew_for_each_request(browser, manager):
    manager.task_instances = {"sales"}
    assert names(browser) == {"sales-1"}

    manager.task_instances = set()

    assert names(browser) == set()
    assert browser.get("/api/jobs/sales-1").status_code == 404
