"""What tasks import is loaded ahead of them once it has passed a trial; what people edit is always read fresh.

One Airflow for this module, with packages of its own in a directory that looks like one of installed packages.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import sysconfig
import textwrap

import pytest

from tests.airflow.conftest import CONFIG, EXECUTOR
from tests.support.airflow_site import AIR_EXECUTOR, AirflowSite
from tests.support.packages import install
from tests.support.trace_collector import TraceCollector
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.skipif(EXECUTOR != AIR_EXECUTOR, reason="only Air-Executor learns"),
    pytest.mark.timeout(420),
]

GOOD = "VERSION = {version!r}\n"
THREADED = """
import threading, time
threading.Thread(target=time.sleep, args=(3600,), daemon=True, name="poller").start()
"""
DAG = """
import sys

FOUND = sorted(name for name in ("good_module", "late_module", "threaded_module", "helper_beside") if name in sys.modules)
import good_module
import threaded_module
import helper_beside
from airflow.sdk import DAG, task

with DAG("reads", schedule=None):
    @task
    def look():
        found = FOUND + [name for name in ("late_module",) if name in sys.modules and name not in FOUND]
        import late_module
        return {{"found": found, "version": good_module.VERSION, "helper": helper_beside.WORD, "dag": {word!r}}}

    look()
"""
PYTHONS = """
import sys
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, task

def describe():
    try:
        import only_there
    except ImportError:
        return {"prefix": sys.prefix, "word": None}
    return {"prefix": sys.prefix, "word": only_there.WORD}

with DAG("two_pythons", schedule=None):
    task(describe, task_id="here")()
    task(describe, task_id="there", queue="other")()
    BashOperator(task_id="shell", queue="other", bash_command="command -v python; python -c 'import only_there'")
    BashOperator(task_id="nowhere", queue="broken", bash_command="true")
"""


@pytest.fixture(scope="module")
def other_python(tmp_path_factory):
    """A virtual environment that has what this one has, and one package more."""
    home = tmp_path_factory.mktemp("other") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    name = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    directory = home / "lib" / name / "site-packages"
    install(directory, "1", {"only_there": "WORD = 'there'\n"}, name="only-there")
    (directory / "layer.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    return home / "bin" / "python"


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    directory = tmp_path_factory.mktemp("lib") / "site-packages"
    install(directory, "1", {"good_module": GOOD.format(version="1"), "late_module": "", "threaded_module": THREADED})
    return directory


@pytest.fixture(scope="module")
def collector():
    with contextlib.closing(TraceCollector()) as collector:
        yield collector


@pytest.fixture(scope="module")
def site(tmp_path_factory, database_template, packages, other_python, collector):
    """With traces on: OpenTelemetry has threads in the warm parent then, and starts them anew in each fork."""
    directory = tmp_path_factory.mktemp("learned")
    (directory / "dags").mkdir()
    write_dag(directory, "first", "first")
    (directory / "dags" / "two_pythons.py").write_text(PYTHONS)
    pythons = {"other": str(other_python), "broken": str(directory / "no" / "python")}
    site = AirflowSite(
        directory,
        executor=AIR_EXECUTOR,
        dags_folder=directory / "dags",
        database_template=database_template,
        config={**CONFIG, **collector.config, "air_executor": {"queue_environments": json.dumps(pythons)}},
        environment={"PYTHONPATH": str(packages), **collector.environment},
        components=("api-server", "scheduler", "dag-processor"),
    )
    with site:
        site.api.wait_for_dags(["reads", "two_pythons"])
        site.api.unpause("reads")
        yield site


def write_dag(directory, word, helper):
    """Write DAG file and helper; never of the same size twice, since Python would take cached bytecode for that."""
    for name, text in (("reads.py", DAG.format(word=word)), ("helper_beside.py", f"WORD = {helper!r}\n")):
        aside = directory / f"{name}.new"
        aside.write_text(textwrap.dedent(text))
        aside.replace(directory / "dags" / name)


def run(site):
    """Run the DAG once and return what its task saw."""
    run_id = site.api.trigger("reads")
    site.api.wait_for_success("reads", run_id, timeout_s=180)
    return site.api.xcom("reads", run_id, "look")


def learned(site):
    """Return what the command line shows of the environment of most tasks."""
    found = json.loads(site.air_executor("preload", "status", "--json").stdout)
    own = [each for each in found if each["python"] == sys.executable]
    return own[0] if own else {"loaded": [], "denied": [], "waiting": []}


def wait_until_learned(site):
    def look():
        seen = learned(site)
        return {each["module"] for each in seen["loaded"]}, {each["module"] for each in seen["denied"]}

    return wait_until(
        look, lambda seen: {"good_module", "late_module"} <= seen[0], timeout_s=180, interval_s=0.5, what="a trial"
    )


def wait_until_found(site, *modules):
    """Run until a task finds these modules loaded, and return what it saw."""
    return wait_until(
        lambda: run(site), lambda seen: seen["found"] == sorted(modules), timeout_s=180, what=f"tasks to find {modules}"
    )


@pytest.mark.core
def test_what_two_tasks_import_is_loaded_for_the_third(site):
    for _ in range(2):
        assert run(site)["found"] == []

    loaded, denied = wait_until_learned(site)
    seen = run(site)

    assert "threaded_module" in denied
    assert "helper_beside" not in loaded | denied
    assert seen["found"] == ["good_module", "late_module"]


@pytest.mark.core
def test_edited_dag_and_helper_are_read_fresh_every_time(site):
    wait_until_found(site, "good_module", "late_module")

    for number in (2, 3, 4):
        word = "edited" * number
        write_dag(site.directory, word, f"helper {word}")
        seen = run(site)

        assert (seen["dag"], seen["helper"]) == (word, f"helper {word}")
        assert seen["found"] == ["good_module", "late_module"]


def test_upgraded_package_is_in_the_next_task(site, packages):
    wait_until_found(site, "good_module", "late_module")

    install(
        packages, "2", {"good_module": GOOD.format(version="2 is new"), "late_module": "", "threaded_module": THREADED}
    )

    assert run(site)["version"] == "2 is new"
    assert wait_until_found(site, "good_module", "late_module")["version"] == "2 is new"


def test_command_line_explains(site):
    wait_until_learned(site)

    denied = site.air_executor("preload", "explain", "threaded_module")
    fresh = site.air_executor("preload", "explain", "helper_beside")
    unknown = site.air_executor("preload", "explain", "nobody_knows_it", check=False)

    assert "starts a thread" in denied.stdout
    assert "poller" in denied.stdout
    assert "read fresh by each task" in fresh.stdout
    assert unknown.returncode == 4


def test_cleared_modules_are_not_loaded_for_the_next_task(site):
    wait_until_found(site, "good_module", "late_module")

    site.air_executor("preload", "clear")

    assert run(site)["found"] == []
    assert wait_until_found(site, "good_module", "late_module")


def test_queue_may_have_a_python_of_its_own(site, other_python):
    run_id = site.api.trigger("two_pythons")
    site.api.wait_for_run("two_pythons", run_id, timeout_s=180)

    states = site.api.states("two_pythons", run_id)
    here, there = (site.api.xcom("two_pythons", run_id, task) for task in ("here", "there"))

    assert states == {"here": "success", "there": "success", "shell": "success", "nowhere": "failed"}
    assert here == {"prefix": sys.prefix, "word": None}
    assert there == {"prefix": str(other_python.parents[1]), "word": "there"}
    assert "queue 'broken' names" in site.api.log("two_pythons", run_id, "nowhere")
    pythons = {each["python"] for each in json.loads(site.air_executor("preload", "status", "--json").stdout)}
    assert pythons == {sys.executable, str(other_python)}


def test_tasks_send_their_traces(site, collector):
    run(site)
    # Of the task's process; the scheduler has others of the task.
    wait_until(lambda: collector.has_span("worker.look"), timeout_s=60, what="the span of a task")
