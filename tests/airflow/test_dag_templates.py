"""DAG templates: many tasks take one parse of their DAG file over, and nobody can tell but by the time it takes.

One Airflow for this module, whose DAG files are edited between runs.
"""

from __future__ import annotations

import json

import psutil
import pytest

from air_executor.airflow import task_ahead
from tests.airflow.conftest import CONFIG, EXECUTOR
from tests.support.airflow_site import AIR_EXECUTOR, AirflowSite
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.skipif(EXECUTOR != AIR_EXECUTOR, reason="only Air-Executor has templates"),
    pytest.mark.timeout(420),
    pytest.mark.core,
]

HEAD = """
import os
import threading, time, json, logging
from pathlib import Path
from airflow.sdk import DAG, task

PARSED_BY = os.getpid()
PARSED_IN = os.getcwd()
HERE = Path(__file__).parent

def chain_of(count, look):
    first = None
    for number in range(count):
        following = task(look, task_id=f"look_{number}")()
        if first is not None:
            first >> following
        first = following
"""

SHARED = """
import helper_of_shared
WORD = {word!r}
NUMBERS = json.loads((HERE / "numbers.json").read_text())

def look():
    seen = {{"parsed_by": PARSED_BY, "pid": os.getpid(), "parsed_in": PARSED_IN, "cwd": os.getcwd()}}
    return {{**seen, "word": WORD, "helper": helper_of_shared.WORD, "numbers": NUMBERS}}

with DAG("shared", schedule=None):
    chain_of(3, look)
"""

GENERATED = """
def make(name, settings):
    def look():
        return {"parsed_by": PARSED_BY, "name": name, "settings": settings}

    with DAG(f"generated_{name}", schedule=None) as dag:
        chain_of(2, look)
    return dag

for path in sorted((HERE / "settings").glob("*.json")):
    globals()[path.stem] = make(path.stem, json.loads(path.read_text()))
"""

CONTEXT = """
from airflow.sdk import get_parsing_context

asked_for = get_parsing_context().dag_id
KNOWN = []
for name in ("one", "two"):
    if asked_for is not None and asked_for != f"context_{name}":
        continue
    KNOWN.append(name)

    def look():
        return {"parsed_by": PARSED_BY, "known": KNOWN}

    with DAG(f"context_{name}", schedule=None):
        chain_of(2, look)
"""

ASKS = """
from airflow.sdk import Variable

WORD = Variable.get("word_of_asks", default="unset")

def look():
    return {"parsed_by": PARSED_BY, "word": WORD}

with DAG("asks", schedule=None):
    chain_of(2, look)
"""

THREADED = """
threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()

def look():
    return {"parsed_by": PARSED_BY}

with DAG("threaded", schedule=None):
    chain_of(2, look)
"""

SPEAKS = """
import structlog

bound = structlog.get_logger("speaks").bind(team="x")
print("printed while parsed")
logging.getLogger("speaks").warning("logged while parsed")

def look():
    bound.warning("logged by the task")
    return {"parsed_by": PARSED_BY}

with DAG("speaks", schedule=None):
    chain_of(2, look)
"""

DECLINES = """
def look():
    return {"parsed_by": PARSED_BY}

with DAG("declines", schedule=None, default_args={"executor_config": {"air_executor": {"dag_template": False}}}):
    chain_of(2, look)
"""

MISTAKEN = """
def look():
    return {}

with DAG("mistaken", schedule=None, default_args={"executor_config": {"air_executor": {"dag_template": "often"}}}):
    chain_of(1, look)
"""

BROKEN = """
import sys

if "air_executor.airflow.runner" in sys.modules:
    raise RuntimeError("it is broken for tasks")

def look():
    return {}

with DAG("broken", schedule=None):
    chain_of(1, look)
"""

FILES = {
    "generated.py": GENERATED,
    "context.py": CONTEXT,
    "asks.py": ASKS,
    "threaded.py": THREADED,
    "speaks.py": SPEAKS,
    "declines.py": DECLINES,
    "mistaken.py": MISTAKEN,
    "broken.py": BROKEN,
}
DAGS = (
    *("shared", "generated_a", "generated_b", "context_one", "context_two"),
    *("asks", "threaded", "speaks", "declines", "mistaken", "broken"),
)


@pytest.fixture(scope="module")
def dags(tmp_path_factory):
    return tmp_path_factory.mktemp("templates") / "dags"


@pytest.fixture(scope="module")
def site(dags, database_template):
    (dags / "settings").mkdir(parents=True)
    for name, text in FILES.items():
        write(dags / name, HEAD + text)
    write(dags / "shared.py", HEAD + SHARED.format(word="first"))
    write(dags / "helper_of_shared.py", "WORD = 'first'\n")
    write(dags / "numbers.json", "[1]")
    for name in ("a", "b"):
        write(dags / "settings" / f"{name}.json", json.dumps({"of": name}))
    site = AirflowSite(
        dags.parent,
        executor=AIR_EXECUTOR,
        dags_folder=dags,
        database_template=database_template,
        config={**CONFIG, "air_executor": {"dag_templates": "True"}},
        components=("api-server", "scheduler", "dag-processor"),
    )
    with site:
        site.api.wait_for_dags(DAGS)
        for dag_id in DAGS:
            site.api.unpause(dag_id)
        yield site


def write(path, text):
    """Write a file whole; never of the same size twice, since Python would take cached bytecode for that."""
    aside = path.with_suffix(".aside")
    aside.write_text(text)
    aside.replace(path)


def run(site, dag_id, count):
    """Run a DAG and return what each of its tasks saw."""
    run_id = site.api.trigger(dag_id)
    site.api.wait_for_success(dag_id, run_id, timeout_s=180)
    return [site.api.xcom(dag_id, run_id, f"look_{number}") for number in range(count)]


def parses(seen):
    return {each["parsed_by"] for each in seen}


def find_reason(site, dag_id, path):
    """Return why a DAG file, of which tasks have run, has no template; None if it has one."""
    for _ in range(3):
        found = json.loads(site.air_executor("preload", "status", "--json").stdout)
        notes = {note["path"]: note["reason"] for each in found for note in each["dag_templates"]}
        if path in notes:
            return notes[path]
        # A warm parent that knows more modules has taken over since, and has seen no task of this file.
        site.api.wait_for_run(dag_id, site.api.trigger(dag_id), timeout_s=180)
    raise AssertionError(f"nothing is said of {path}: {found}")


def test_tasks_of_a_file_take_over_one_parse(site):
    seen = run(site, "shared", 3)
    assert len(parses(seen)) == 1
    assert not parses(seen) & {each["pid"] for each in seen}
    # Relative paths in the file are those of its tasks.
    assert [each["parsed_in"] for each in seen] == [each["cwd"] for each in seen]
    assert find_reason(site, "shared", "shared.py") is None
    assert "shared.py" in site.air_executor("preload", "status").stdout


def test_a_task_runs_in_the_process_that_waits_for_it(site):
    def list_waiting():
        # A title takes the place of the environment, by which a site knows its processes.
        return {
            each.pid
            for each in psutil.process_iter(["cmdline"])
            if task_ahead.TITLE in " ".join(each.info["cmdline"] or ())
        }

    # A template may be renewed in between.
    for _ in range(3):
        run(site, "shared", 3)
        waiting = wait_until(list_waiting)
        if run(site, "shared", 3)[0]["pid"] in waiting:
            return
    raise AssertionError("no task was run by a process that was there before it")


@pytest.mark.parametrize(
    ("name", "text", "key", "value"),
    [
        ("shared.py", HEAD + SHARED.format(word="the second"), "word", "the second"),
        ("helper_of_shared.py", "WORD = 'the second'\n", "helper", "the second"),
        ("numbers.json", "[1, 2]", "numbers", [1, 2]),
    ],
)
def test_what_was_edited_is_read_anew_by_the_next_task(site, dags, name, text, key, value):
    before = run(site, "shared", 3)
    write(dags / name, text)
    seen = run(site, "shared", 3)
    assert [each[key] for each in seen] == [value] * 3
    assert not parses(seen) & parses(before)
    # By a template again.
    assert len(parses(seen)) == 1


def test_generated_dags_follow_the_files_that_they_are_made_from(site, dags):
    assert [each["settings"] for each in run(site, "generated_a", 2)] == [{"of": "a"}] * 2
    write(dags / "settings" / "b.json", json.dumps({"of": "b", "is": "changed"}))
    seen = run(site, "generated_b", 2)
    assert [each["settings"] for each in seen] == [{"of": "b", "is": "changed"}] * 2
    assert [each["name"] for each in seen] == ["b"] * 2
    assert len(parses(seen)) == 1


def test_a_file_that_asks_for_which_task_it_is_parsed_is_ruled_out(site):
    for name in ("one", "two"):
        seen = run(site, f"context_{name}", 2)
        assert [each["known"] for each in seen] == [[name]] * 2
        assert len(parses(seen)) == 2
    assert "get_parsing_context" in find_reason(site, "context_one", "context.py")


def test_a_file_that_asks_airflow_for_something_is_ruled_out(site):
    assert [each["word"] for each in run(site, "asks", 2)] == ["unset"] * 2
    site.api.set_variable("word_of_asks", "set")
    seen = run(site, "asks", 2)
    assert [each["word"] for each in seen] == ["set"] * 2
    assert len(parses(seen)) == 2
    assert "variable" in find_reason(site, "asks", "asks.py").lower()


def test_a_file_that_starts_a_thread_is_ruled_out(site):
    assert len(parses(run(site, "threaded", 2))) == 2
    assert "thread" in find_reason(site, "threaded", "threaded.py")


def test_what_a_parse_says_is_in_the_log_of_each_task(site):
    run_id = site.api.trigger("speaks")
    site.api.wait_for_success("speaks", run_id, timeout_s=180)
    assert find_reason(site, "speaks", "speaks.py") is None
    for number in range(2):
        log = wait_until(
            lambda number=number: site.api.log("speaks", run_id, f"look_{number}", 1),
            lambda text: "logged by the task" in text,
            what="the log",
        )
        assert log.count("printed while parsed") == 1
        assert log.count("logged while parsed") == 1


def test_a_dag_may_decline(site):
    assert len(parses(run(site, "declines", 2))) == 2


def test_a_mistake_in_executor_config_fails_the_task_with_the_remedy(site):
    run_id = site.api.trigger("mistaken")
    assert site.api.wait_for_run("mistaken", run_id, timeout_s=180) == "failed"
    assert "use True or False" in site.log_text("scheduler")


def test_a_file_that_cannot_be_parsed_fails_its_tasks_as_ever(site):
    run_id = site.api.trigger("broken")
    assert site.api.wait_for_run("broken", run_id, timeout_s=180) == "failed"
    assert "it is broken for tasks" in site.api.log("broken", run_id, "look_0", 1)
    assert "its parse fails" in find_reason(site, "broken", "broken.py")
