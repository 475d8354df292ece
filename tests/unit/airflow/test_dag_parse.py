"""Parsing a DAG file for many tasks: what is found out about it, and which files are ruled out. Each file in a fork of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig

import pytest

GOOD = """
import os
from pathlib import Path
import helper_of_good
from airflow.sdk import DAG, task

Path(__file__).with_name("data.json").read_text()
os.environ.get("ASKED_FOR")
print("said")

with DAG("good", schedule=None):
    @task
    def work():
        pass
    work()
"""
DAG_AND = """
from airflow.sdk import DAG, task
with DAG("some", schedule=None):
    @task
    def work():
        pass
    work()
"""
RELATIVE = (
    DAG_AND
    + """
import os
open("beside.txt").read()
assert os.path.exists("beside.txt")
"""
)
# A deployment during the parse, of which Python tells nothing; files keep their times.
DEPLOYED = (
    DAG_AND
    + """
import ctypes, os
here = os.path.dirname(__file__)
first, second = (os.path.join(here, name) for name in ("deployed.json", "deployed_next.json"))
open(first).read()
assert ctypes.CDLL(None).rename(second.encode(), first.encode()) == 0
"""
)
DATABASE = (
    DAG_AND
    + """
import os
from airflow import settings
from airflow.configuration import conf
assert conf.get("database", "sql_alchemy_conn") == "airflow-db-not-allowed:///"
assert os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] == "airflow-db-not-allowed:///"
assert settings.SQL_ALCHEMY_CONN == "airflow-db-not-allowed:///"
"""
)
FILES = {
    "good.py": GOOD,
    "relative.py": RELATIVE,
    "deployed.py": DEPLOYED,
    "deployed.json": "{}",
    "deployed_next.json": "{}",
    "database.py": DATABASE,
    "own_logger.py": DAG_AND
    + "import logging; own = logging.getLogger('own'); own.setLevel('DEBUG'); own.addHandler(logging.NullHandler())",
    "known_logger.py": DAG_AND + "import logging; logging.getLogger('airflow').setLevel('DEBUG')",
    "new_logger.py": DAG_AND + "import logging; logging.getLogger('airflow.of_a_file').setLevel('DEBUG')",
    "disabled_logger.py": DAG_AND + "import logging; logging.getLogger('own_disabled').disabled = True",
    "handler.py": DAG_AND + "import logging; logging.getLogger().handlers[0].setLevel('ERROR')",
    "structlog_set.py": DAG_AND + "import structlog; structlog.configure(processors=[])",
    "seeds.py": DAG_AND + "import random; random.seed(42)",
    "helper_of_good.py": "",
    "data.json": "{}",
    "empty.py": "",
    "broken.py": DAG_AND + "raise ValueError('no')",
    "leaves.py": DAG_AND + "import sys; sys.exit(3)",
    "variable.py": DAG_AND + "import os; os.environ['CHANGED_BY_DAG'] = '1'",
    "logger.py": DAG_AND + "import logging; logging.getLogger().setLevel('DEBUG')",
    "directory.py": DAG_AND + "import os; os.chdir('/')",
    "descriptor.py": DAG_AND + "import socket; kept = socket.socketpair()",
    "thread.py": DAG_AND
    + "import threading; threading.Thread(target=threading.Event().wait, daemon=True, name='kept').start()",
    "large.py": DAG_AND + "kept = [bytes([number % 256]) * 100_000 for number in range(1000)]",
}
BESIDE = "tests.support.restarting_thread"
SCRIPT = """
import importlib, json, os, sys
from air_executor.airflow import preload
from air_executor.airflow.dag_parse import DagFile, parse_for_tasks
from air_executor.process.template import UnsuitableError
import airflow.sdk.execution_time.task_runner as task_runner

# As the warm parent does: what Airflow finds out once for each process, it has found out before.
preload.load(preload.read_own_options())
answers = os.fdopen(os.dup(1), "w")

def look_at_database():
    from airflow import settings
    from airflow.configuration import conf
    names = sorted(name for name in vars(settings) if name != "__warningregistry__")
    options = [conf.get("database", f"sql_alchemy_conn{end}", fallback=None) for end in ("", "_cmd", "_secret")]
    variables = [os.environ.get(f"AIRFLOW__{name}__SQL_ALCHEMY_CONN") for name in ("DATABASE", "CORE")]
    return [names, repr(settings.Session), settings.SQL_ALCHEMY_CONN, settings.configure_orm.__module__, options, variables]

database = look_at_database()
for path in sys.argv[1:]:
    answers.flush()
    child = os.fork()
    if child == 0:
        answer = {"path": path}
        try:
            bundle, name, cwd, *beside = path.split(":") if ":" in path else ("dags-folder", path, os.environ["WORK"])
            for module in beside:
                importlib.import_module(module)
            found = parse_for_tasks(DagFile(bundle, None, name, cwd), 64 << 20, preload.set_up_logging)
            answer |= {"stamps": [stamp[0] for stamp in found["stamps"]], "variables": found["variables"]}
            answer["changed"] = [stamp[0] for stamp in found["stamps"] if stamp[1] == -1]
            answer["has_database"] = look_at_database() == database
            answer["takes_over"] = task_runner.parse.__module__
        except UnsuitableError as error:
            answer |= {"reason": str(error), "stamps": [stamp[0] for stamp in error.facts.get("stamps", ())]}
        answers.write(json.dumps(answer) + "\\n")
        answers.flush()
        os._exit(0)
    os.waitpid(child, 0)
"""


@pytest.fixture(scope="module")
def dags(tmp_path_factory):
    # Below a directory of packages: it counts as one of DAGs all the same.
    directory = tmp_path_factory.mktemp("parsed") / "site-packages" / "dags"
    directory.mkdir(parents=True)
    for name, text in FILES.items():
        (directory / name).write_text(text)
        # What was written just before a parse is taken for changed meanwhile.
        os.utime(directory / name, (1_700_000_000, 1_700_000_000))
    return directory


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    directory = tmp_path_factory.mktemp("work")
    (directory / "beside.txt").write_text("")
    os.utime(directory / "beside.txt", (1_700_000_000, 1_700_000_000))
    return directory


@pytest.fixture(scope="module")
def found(dags, work):
    paths = [name for name in FILES if name.endswith(".py") and name != "helper_of_good.py"]
    others = ("absent.py", f"no-such-bundle:good.py:{work}", f"dags-folder:good.py:{work}/absent")
    others += tuple(f"dags-folder:{name}:{work}:{BESIDE}" for name in ("good.py", "thread.py"))
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, *paths, *others],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        env={
            **os.environ,
            "WORK": str(work),
            "PYTHONPATH": os.pathsep.join(filter(None, [str(dags.parent), os.environ.get("PYTHONPATH")])),
            "AIRFLOW_HOME": str(dags.parent),
            "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        },
    )
    assert result.returncode == 0, result.stderr[-3000:]
    answers = [json.loads(line) for line in result.stdout.splitlines() if line.startswith('{"path"')]
    return {answer["path"]: answer for answer in answers}


def test_what_a_parse_depends_on_is_stamped(found, dags):
    good = found["good.py"]
    assert "reason" not in good
    assert {str(dags / name) for name in ("good.py", "helper_of_good.py", "data.json")} <= set(good["stamps"])
    assert good["changed"] == []
    assert not [path for path in good["stamps"] if path.startswith(sysconfig.get_path("purelib"))]
    assert "ASKED_FOR" in good["variables"]
    assert good["takes_over"] == "air_executor.airflow.remembered_bag"


def test_a_file_is_parsed_in_the_working_directory_of_its_tasks(found, work):
    assert "reason" not in found["relative.py"]
    assert str(work / "beside.txt") in found["relative.py"]["stamps"]


def test_what_is_replaced_during_the_parse_is_taken_for_changed(found, dags):
    assert found["deployed.py"]["changed"] == [str(dags / "deployed.json")]


def test_the_database_is_taken_away_for_the_parse_alone(found):
    assert "reason" not in found["database.py"]
    assert found["database.py"]["has_database"]


def test_a_file_may_configure_loggers_of_its_own(found):
    assert "reason" not in found["own_logger.py"]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("empty.py", "holds no DAG"),
        ("absent.py", "holds no DAG"),
        ("broken.py", "its parse fails"),
        ("leaves.py", "its parse fails"),
        ("variable.py", "environment variables (CHANGED_BY_DAG)"),
        ("logger.py", "it configures the root logger"),
        ("handler.py", "it configures the root logger"),
        ("known_logger.py", "it configures the logger airflow"),
        ("new_logger.py", "it configures the logger airflow.of_a_file"),
        ("disabled_logger.py", "it configures the logger own_disabled"),
        ("structlog_set.py", "it configures structlog"),
        ("seeds.py", "it seeds random numbers"),
        ("directory.py", "the working directory"),
        ("descriptor.py", "a connection"),
        ("thread.py", "still there after a fork (kept)"),
        ("large.py", "dag_template_memory_limit"),
    ],
)
def test_what_cannot_be_shared_is_ruled_out_with_the_reason(found, dags, path, words):
    assert words in found[path]["reason"]
    # It is tried again when the file has changed.
    assert str(dags / path) in found[path]["stamps"]


def test_threads_that_are_there_without_a_file_are_not_held_against_it(found, work):
    assert "reason" not in found[f"dags-folder:good.py:{work}:{BESIDE}"]
    assert "still there after a fork (kept)" in found[f"dags-folder:thread.py:{work}:{BESIDE}"]["reason"]


def test_a_place_that_is_not_there_rules_a_file_out(found, work):
    assert "no such bundle" in found[f"no-such-bundle:good.py:{work}"]["reason"]
    absent = found[f"dags-folder:good.py:{work}/absent"]
    assert f"working directory {work}/absent cannot be entered" in absent["reason"]
    assert absent["stamps"] == [f"{work}/absent"]
