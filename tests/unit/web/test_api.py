"""The contract of the routes, as docs/http.md tells it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from fastapi import FastAPI, HTTPException, Request

from air_executor.client import AirExecutorClient
from air_executor.errors import RootError
from air_executor.web.api import make_router
from tests.unit.web.conftest import Jobs, Site, ran, record

COUNTS = {"completed", "running", "failed", "pending", "cancelled", "skipped"}
PROGRESS = {"state", "total_tasks", "percent", "tasks_per_s", "time_left_s", "error", *COUNTS}
SUMMARY = {*PROGRESS, "name", "created_at", "updated_at", "labels"}
CANARY = "canary-7f3b"
ODD = "airflow-manual__2025-10-02T07:30:00+00:00~1"


@pytest.fixture
def job(jobs: Jobs) -> str:
    jobs.put(
        "job",
        ran("first", command="make", args=("all",), exit_code=0, cpu_s=0.5),
        ran("broken", "failed", start=2, took=2, error="exit code 3; last lines: no such file", exit_code=3),
        ran("now", "running", start=3, dependencies=("first",)),
        record("later", dependencies=("now",)),
        labels={"dag_id": "load", "log_path": f"/var/log/{CANARY}"},
    )
    return "job"


# What is answered


def test_progress_has_the_fields_of_the_mission_and_more(site: Site, job: str) -> None:
    progress = site.json("/jobs/job/progress")

    assert set(progress) == {"job_name", "tasks", *PROGRESS}
    assert (progress["job_name"], progress["state"], progress["total_tasks"], progress["percent"]) == (
        "job",
        "working",
        4,
        50.0,
    )
    assert {name: progress[name] for name in COUNTS} == {
        "completed": 1, "running": 1, "failed": 1, "pending": 1, "cancelled": 0, "skipped": 0
    }  # fmt: skip
    assert [(task["id"], task["status"]) for task in progress["tasks"]] == [
        ("first", "completed"), ("broken", "failed"), ("now", "running"), ("later", "pending")
    ]  # fmt: skip
    assert progress["tasks"][0]["started_at"] == "2025-10-02T07:30:01Z"
    assert set(site.json("/jobs/job/progress?tasks=false")) == {"job_name", *PROGRESS}


def test_a_job(site: Site, job: str) -> None:
    summary = site.json("/jobs/job")

    assert set(summary) == SUMMARY
    assert summary["labels"] == {"dag_id": "load"}
    assert site.json("/jobs")["jobs"] == [summary]


def test_jobs_are_listed_newest_change_first_in_pages(site: Site, jobs: Jobs) -> None:
    for number in range(5):
        jobs.put(
            f"job-{number}",
            record("task"),
            state="completed" if number % 2 else "working",
            labels={"dag_id": f"dag-{number}"},
        )

    def names(query: str) -> list[str]:
        return [each["name"] for each in site.json(f"/jobs{query}")["jobs"]]

    assert names("") == ["job-4", "job-3", "job-2", "job-1", "job-0"]
    assert names("?offset=1&limit=2") == ["job-3", "job-2"]
    assert names("?offset=9") == []
    assert names("?state=completed") == ["job-3", "job-1"]
    assert names("?state=completed&state=working&limit=2") == ["job-4", "job-3"]
    assert names("?name=job-[23]") == ["job-3", "job-2"]
    assert names("?q=DAG-3") == ["job-3"]
    assert names("?label=dag_id:dag-1&label=dag_id:dag-1") == ["job-1"]
    listed = site.json("/jobs?state=completed&limit=1")
    assert (listed["total"], len(listed["jobs"])) == (2, 1)
    assert listed["counts"] == {"waiting": 0, "working": 3, "completed": 2, "failed": 0, "cancelled": 0}


def test_tasks_are_filtered_ordered_and_paged(site: Site, job: str) -> None:
    def ids(query: str) -> list[str]:
        return [each["id"] for each in site.json(f"/jobs/job/tasks{query}")["tasks"]]

    assert ids("") == ["first", "broken", "now", "later"]
    assert ids("?status=failed&status=running") == ["broken", "now"]
    assert ids("?q=NO%20SUCH") == ["broken"]
    assert ids("?order=duration&descending=true&limit=1") == ["now"]
    assert ids("?order=status") == ["broken", "now", "later", "first"]
    assert ids("?offset=3&limit=5") == ["later"]
    listed = site.json("/jobs/job/tasks?status=failed&limit=0")
    assert (listed["tasks"], listed["total"]) == ([], 1)
    assert listed["counts"] == {"completed": 1, "running": 1, "failed": 1, "pending": 1, "cancelled": 0, "skipped": 0}


def test_a_task_tells_why_it_has_not_run_or_how_it_ended(site: Site, job: str) -> None:
    later, broken = site.json("/jobs/job/tasks/later"), site.json("/jobs/job/tasks/broken")

    assert later.pop("explanation").splitlines()[-1] == "it waits for now (running)"
    assert broken.pop("explanation").startswith("attempt 1 failed: exit code 3; last lines: no such file; run it again")
    assert [later, broken] == site.json("/jobs/job/tasks?status=pending")["tasks"] + site.json(
        "/jobs/job/tasks?status=failed"
    )["tasks"]


def test_a_timeline(site: Site, job: str) -> None:
    timeline = site.json("/jobs/job/timeline")

    assert timeline["total"] == 3
    assert timeline["tasks"][1:] == [
        {"id": "broken", "status": "failed", "attempt": 1, "started_at": "2025-10-02T07:30:02Z", "completed_at": "2025-10-02T07:30:04Z"},
        {"id": "now", "status": "running", "attempt": 1, "started_at": "2025-10-02T07:30:03Z", "completed_at": None},
    ]  # fmt: skip


def test_no_manager(site: Site) -> None:
    assert site.json("/manager") == {
        "running": False, "pid": None, "started_at": None, "slots": None, "attempts": None,
        "attempts_announced": None, "jobs": None, "is_draining": None
    }  # fmt: skip


def test_logs_come_in_parts(site: Site, jobs: Jobs) -> None:
    directory = jobs.put("job", ran("task", attempt=2), record("new"))
    (directory / "logs" / "task.1.log").write_text("early")
    (directory / "logs" / "task.2.log").write_text("größer <b>")

    answer = site.ask("/jobs/job/tasks/task/log")
    assert answer.text == "größer <b>"
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert (answer.headers["x-attempt"], answer.headers["x-log-size"], answer.headers["x-next-offset"]) == (
        "2",
        "12",
        "12",
    )
    assert site.ask("/jobs/job/tasks/task/log?attempt=1&offset=1&limit=2").text == "ar"
    assert site.ask("/jobs/job/tasks/task/log?offset=-3").text == "<b>"
    cut = site.ask("/jobs/job/tasks/task/log?limit=3")
    assert (cut.text, cut.headers["x-next-offset"]) == ("gr", "2")
    new = site.ask("/jobs/job/tasks/new/log")
    assert (new.text, new.headers["x-attempt"]) == ("", "0")
    assert "no attempt 3" in site.error("/jobs/job/tasks/task/log?attempt=3", 404)


def test_tasks_whose_ids_look_like_addresses(site: Site, jobs: Jobs) -> None:
    ids = ["a/log", "a", "log", "a/b c.csv", "..", "a%2Flog", "x?y#z"]
    jobs.put("job", *(ran(task_id) for task_id in ids))
    for path, task_id in [
        ("a%2Flog", "a/log"), ("a%2flog", "a/log"), ("a", "a"), ("log", "log"), ("a/b%20c.csv", "a/b c.csv"), ("%2e%2e", ".."),
        ("a%252Flog", "a%2Flog"), ("x%3Fy%23z", "x?y#z"),
    ]:  # fmt: skip
        assert site.json(f"/jobs/job/tasks/{path}")["id"] == task_id
        log = jobs.client.log_path("job", task_id, 1)
        log.write_text(task_id)
        assert site.ask(f"/jobs/job/tasks/{path}/log").text == task_id


@pytest.mark.parametrize("path", [ODD, "airflow-manual__2025-10-02T07%3A30%3A00%2B00%3A00%7E1"])
def test_a_name_may_hold_what_run_ids_hold(site: Site, jobs: Jobs, path: str) -> None:
    jobs.put(ODD, record("task"))

    assert site.json(f"/jobs/{path}")["name"] == ODD
    assert site.json(f"/jobs/{path}/progress")["job_name"] == ODD


def test_archived_jobs_are_found_by_name(site: Site, jobs: Jobs, job: str) -> None:
    assert site.json("/jobs/job")["completed"] == 1
    (jobs.path / "jobs" / "job" / "logs" / "first.1.log").write_text("output")
    os.rename(jobs.path / "jobs" / "job", jobs.path / "archive" / "job")

    assert site.json("/jobs/job")["completed"] == 1
    assert len(site.json("/jobs/job/progress")["tasks"]) == 4
    assert site.ask("/jobs/job/tasks/first/log").text == "output"


def test_head_has_no_body_and_other_methods_are_refused(site: Site, job: str) -> None:
    for path in ("/jobs", "/jobs/job", "/jobs/job/progress", "/jobs/job/tasks/first/log", "/manager"):
        assert site.ask(path, "HEAD").status_code == 200
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            assert site.ask(path, method).status_code == 405


# What is not answered


@pytest.mark.parametrize("name", ["%2e%2e", "%2E", "a%00b", "a%20b", "a%0Ab", "%F0%9F%98%80", "x" * 201, "a%5Cb"])
def test_names_that_no_job_can_have(site: Site, name: str) -> None:
    for tail in ("", "/progress", "/tasks", "/tasks/x", "/tasks/x/log", "/timeline", "/events"):
        assert "is not allowed" in site.error(f"/jobs/{name}{tail}", 400)


@pytest.mark.parametrize(
    "path", ["/jobs/..%2f..%2fetc%2fpasswd", "/jobs/../../etc/passwd", "/jobs//job", "/jobs/%2fetc"]
)
def test_paths_lead_nowhere(site: Site, job: str, path: str) -> None:
    assert site.ask(path).status_code in (400, 404)


@pytest.mark.parametrize("tail", ["", "/progress", "/tasks", "/tasks/x", "/tasks/x/log", "/timeline", "/events"])
def test_a_job_that_is_missing(site: Site, tail: str) -> None:
    assert site.error(f"/jobs/missing{tail}", 404).startswith("there is no job missing")


def test_a_task_that_is_missing(site: Site, job: str) -> None:
    assert "has no task 'x'" in site.error("/jobs/job/tasks/x", 404)


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/jobs?limit=x", "limit"),
        ("/jobs?limit=1001", "limit"),
        ("/jobs?limit=-1", "limit"),
        ("/jobs?offset=-1", "offset"),
        ("/jobs?state=done", "state"),
        ("/jobs/job/tasks?status=done", "status"),
        ("/jobs/job/tasks?order=name", "order"),
        ("/jobs/job/tasks/first/log?limit=1048577", "limit"),
        ("/jobs/job/tasks/first/log?attempt=0", "attempt"),
        ("/jobs/job/timeline?limit=1", "limit"),
        ("/jobs/job/progress?tasks=perhaps", "tasks"),
        ("/jobs?q=" + "x" * 501, "q"),
    ],
)
def test_what_cannot_be_asked(site: Site, job: str, path: str, named: str) -> None:
    assert site.error(path, 422).startswith(named)


def test_damaged_files_are_named_without_where_they_lie(site: Site, jobs: Jobs) -> None:
    jobs.by_hand("torn", '{"state": "wai', "[]")
    jobs.by_hand("wrong", '{"state": "waiting"}', '[{"command": 5}]')
    jobs.put("fine", record("task"))

    assert "state.json" in site.error("/jobs/torn", 500)
    assert site.json("/jobs/wrong")["state"] == "waiting"
    for path in ("/jobs/wrong/progress", "/jobs/wrong/tasks"):
        assert "jobs/wrong/tasks.json" in site.error(path, 500)
        assert str(jobs.path) not in site.ask(path).text
    assert [each["name"] for each in site.json("/jobs")["jobs"]] == ["wrong", "fine"]


def test_links_in_the_place_of_views_lead_nowhere(site: Site, jobs: Jobs, tmp_path: Path) -> None:
    directory = jobs.put("job", record("task"))
    elsewhere = tmp_path / "elsewhere.json"
    elsewhere.write_text(f'[{{"id": "{CANARY}", "command": "true"}}]')
    (directory / "tasks.json").unlink()
    (directory / "tasks.json").symlink_to(elsewhere)

    for path in ("/jobs/job/progress", "/jobs/job/tasks"):
        assert CANARY not in site.error(path, 500)


def test_a_job_by_hand_is_counted(site: Site, jobs: Jobs) -> None:
    jobs.by_hand(
        "typed",
        '{"name": "other", "state": "waiting"}',
        json.dumps([{"command": "true"}, {"id": "b", "command": "true", "env": {"A": CANARY}}]),
    )

    progress = site.json("/jobs/typed/progress")
    assert (progress["job_name"], progress["total_tasks"], progress["pending"]) == ("typed", 2, 2)
    assert [task["id"] for task in progress["tasks"]] == ["task-1", "b"]
    assert site.json("/jobs")["jobs"][0]["name"] == "typed"


def test_no_environment_no_token_no_path_in_any_answer(site: Site, jobs: Jobs) -> None:
    directory = jobs.put(
        "job",
        ran("task", env={"PASSWORD": CANARY}, cwd=f"/srv/{CANARY}", command="make"),
        ran("load", runner="airflow", workload=f"{CANARY}.json"),
        error=f"{jobs.path}/jobs/job/tasks.json: is wrong",
        labels={"log_path": f"/var/{CANARY}"},
    )
    (directory / "workload.json").write_text(CANARY)
    (jobs.path / "environments" / "1").write_text(CANARY)
    tails = ("", "/progress", "/tasks", "/tasks?q=canary", "/tasks/task", "/tasks/load", "/tasks/load/log", "/timeline")
    for path in ("/jobs", "/jobs?q=canary", "/manager", "/openapi.json", *(f"/jobs/job{tail}" for tail in tails)):
        answer = site.ask(path)
        assert answer.status_code == 200
        assert CANARY not in answer.text
        assert str(jobs.path) not in answer.text
    assert site.json("/jobs/job")["error"] == "jobs/job/tasks.json: is wrong"


# How it goes on


def test_what_changes_is_seen_at_once(site: Site, jobs: Jobs) -> None:
    jobs.put("job", record("task"))
    assert site.json("/jobs/job/progress")["tasks"][0]["status"] == "pending"

    jobs.put("job", ran("task"), record("queued"), state="working")

    assert [task["status"] for task in site.json("/jobs/job/progress")["tasks"]] == ["completed", "pending"]
    assert site.json("/jobs/job/tasks")["total"] == 2
    assert site.json("/jobs/job")["completed"] == 1


def test_rate_and_time_left(site: Site, jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("air_executor.web.rates.time.monotonic", lambda: now[0])
    ended = 0
    for _ in range(3):
        jobs.put("job", *(ran(f"done-{n}") for n in range(ended)), *(record(f"open-{n}") for n in range(10)))
        progress = site.json("/jobs/job/progress?tasks=false")
        now[0] += 1.0
        ended += 2

    assert (progress["tasks_per_s"], progress["time_left_s"]) == (2.0, 5.0)


# Who may ask


def test_a_job_that_may_not_be_read_is_not_there(make_site: Callable[..., Site], jobs: Jobs) -> None:
    def may_read(request: Request) -> Callable[[Any], bool]:
        if request.headers.get("user") is None:
            raise HTTPException(401, "log in")
        return lambda job: job.labels.get("dag_id") == request.headers["user"]

    site = make_site(may_read=may_read)
    jobs.put("mine", ran("task"), labels={"dag_id": "me"})
    jobs.put("theirs", ran("task"), labels={"dag_id": "they"})

    assert {site.ask(path).status_code for path in ("/jobs", "/jobs/mine", "/jobs/mine/events", "/manager")} == {401}
    listed = site.ask("/jobs", user="me").json()
    assert ([job["name"] for job in listed["jobs"]], listed["total"], listed["counts"]["working"]) == (["mine"], 1, 1)
    for tail in ("", "/progress", "/tasks", "/tasks/task", "/tasks/task/log", "/timeline"):
        assert site.ask(f"/jobs/mine{tail}", user="me").status_code == 200
        hidden = site.ask(f"/jobs/theirs{tail}", user="me")
        missing = site.ask(f"/jobs/missing{tail}", user="me")
        assert (hidden.status_code, missing.status_code) == (404, 404)
        assert hidden.text.replace("theirs", "missing") == missing.text
    assert site.ask("/jobs/theirs/events", user="me").status_code == 404


def test_a_base_path_that_cannot_be_used() -> None:
    def find() -> AirExecutorClient:
        raise RootError(f"/srv/{CANARY}: belongs to user 0")

    app = FastAPI()
    app.include_router(make_router(find))

    assert CANARY not in Site(app).error("/jobs", 503)


# What tells of it


def test_the_description_is_valid_and_answers_keep_to_it(site: Site, job: str) -> None:
    document = site.json("/openapi.json")
    schemas = document["components"]["schemas"]
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    paths = {path: operation["get"]["responses"]["200"] for path, operation in document["paths"].items()}
    assert set(paths) == {
        "/jobs", "/jobs/{name}", "/jobs/{name}/progress", "/jobs/{name}/tasks", "/jobs/{name}/tasks/{task_id}",
        "/jobs/{name}/tasks/{task_id}/log", "/jobs/{name}/timeline", "/jobs/{name}/events", "/manager",
    }  # fmt: skip
    assert list(paths["/jobs/{name}/tasks/{task_id}/log"]["content"]) == ["text/plain"]
    assert list(paths["/jobs/{name}/events"]["content"]) == ["text/event-stream"]
    checked = 0
    for path, response in paths.items():
        schema = response["content"].get("application/json", {}).get("schema")
        if schema is None:
            continue
        answer = site.json(path.replace("{name}", "job").replace("{task_id}", "first"))
        jsonschema.validate(answer, {**schema, "components": document["components"]})
        assert set(answer) <= set(schemas[schema["$ref"].rpartition("/")[2]]["properties"])
        checked += 1
    assert checked == 7
    assert not {"env", "cwd", "workload"} & set(schemas["TaskRecord"]["properties"])
    assert all(set(operation) == {"get"} for operation in document["paths"].values())
