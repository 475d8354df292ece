"""Parsing a DAG file for many tasks: what is found out about it, and which files are ruled out. Each file in a fork of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys

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
FILES = {
    "good.py": GOOD,
    "helper_of_good.py": "",
    "data.json": "{}",
    "empty.py": "",
    "broken.py": DAG_AND + "raise ValueError('no')",
    "leaves.py": DAG_AND + "import sys; sys.exit(3)",
    "variable.py": DAG_AND + "import os; os.environ['CHANGED_BY_DAG'] = '1'",
    "logger.py": DAG_AND + "import logging; logging.getLogger().setLevel('DEBUG')",
    "directory.py": DAG_AND + "import os; os.chdir('/')",
    "descriptor.py": DAG_AND + "import socket; kept = socket.socketpair()",
    "large.py": DAG_AND + "kept = [bytes([number % 256]) * 100_000 for number in range(1000)]",
}
SCRIPT = """
import json, os, sys
from air_executor.airflow import preload
from air_executor.airflow.dag_parse import DagFile, parse_for_tasks
from air_executor.process.template import UnsuitableError
import airflow.sdk.execution_time.task_runner as task_runner

# As the warm parent does: what Airflow finds out once for each process, it has found out before.
preload.load(preload.read_own_options())
answers = os.fdopen(os.dup(1), "w")
for path in sys.argv[1:]:
    answers.flush()
    child = os.fork()
    if child == 0:
        answer = {"path": path}
        try:
            bundle, _, name = path.rpartition(":")
            found = parse_for_tasks(DagFile(bundle or "dags-folder", None, name), 64 << 20, preload.set_up_logging)
            answer |= {"stamps": [stamp[0] for stamp in found["stamps"]], "variables": found["variables"]}
            answer["fresh"] = [stamp[1] != -1 for stamp in found["stamps"]]
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
    directory = tmp_path_factory.mktemp("parsed") / "dags"
    directory.mkdir()
    for name, text in FILES.items():
        (directory / name).write_text(text)
        # What was written just before a parse is taken for changed meanwhile.
        os.utime(directory / name, (1_700_000_000, 1_700_000_000))
    return directory


@pytest.fixture(scope="module")
def found(dags):
    paths = [name for name in FILES if name.endswith(".py") and name != "helper_of_good.py"]
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, *paths, "absent.py", "no-such-bundle:good.py"],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        env={
            **os.environ,
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
    assert [path for path, is_fresh in zip(good["stamps"], good["fresh"], strict=True) if not is_fresh] == []
    assert not [path for path in good["stamps"] if "site-packages" in path]
    assert "ASKED_FOR" in good["variables"]
    assert good["takes_over"] == "air_executor.airflow.remembered_bag"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("empty.py", "holds no DAG"),
        ("absent.py", "holds no DAG"),
        ("broken.py", "its parse fails"),
        ("leaves.py", "its parse fails"),
        ("variable.py", "environment variables (CHANGED_BY_DAG)"),
        ("logger.py", "the root logger"),
        ("directory.py", "the working directory"),
        ("descriptor.py", "a connection"),
        ("large.py", "dag_template_memory_limit"),
        ("no-such-bundle:good.py", "no such bundle"),
    ],
)
def test_what_cannot_be_shared_is_ruled_out_with_the_reason(found, dags, path, words):
    assert words in found[path]["reason"]
    if ":" not in path:
        # It is tried again when the file has changed.
        assert str(dags / path) in found[path]["stamps"]
