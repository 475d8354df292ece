"""What a parse depends on, and what rules out to share it. Each case in a process of its own: an audit hook stays for ever."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import pytest

FRAME = """
import json, os, sys
os.chdir(sys.argv[1])
import airflow.sdk.execution_time.task_runner
from airflow.sdk import Variable, BaseHook
from airflow.sdk.definitions.context import get_parsing_context
from air_executor.airflow.parse_witness import ParseWitness

before = os.environ.__class__.__getitem__
with ParseWitness() as witness:
    try:
{act}
    except Exception as error:
        print(repr(error), file=sys.stderr)
open("after.txt", "w").close()
assert os.environ.__class__.__getitem__ is before
assert not hasattr(airflow.sdk.execution_time.task_runner, "SUPERVISOR_COMMS")
found = [os.path.relpath(path) for path in witness.paths if path.startswith(os.getcwd())]
print(json.dumps([sorted(found), sorted(witness.variables), witness.objections]))
"""


@pytest.fixture
def witness(tmp_path):
    (tmp_path / "there.txt").write_text("there")
    (tmp_path / "some").mkdir()
    (tmp_path / "helper_seen.py").write_text("WORD = 1\n")

    def watch(act):
        script = FRAME.format(act=textwrap.indent(textwrap.dedent(act), " " * 8))
        result = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", script, str(tmp_path)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout.splitlines()[-1])

    return watch


def test_it_sees_what_is_read_listed_and_asked_for(witness):
    paths, variables, objections = witness(
        """
        open("there.txt").read()
        try:
            open("absent.txt")
        except FileNotFoundError:
            pass
        os.listdir("some")
        os.environ.get("SOME_VARIABLE")
        os.getenv("ANOTHER")
        sys.path.insert(0, os.getcwd())
        import helper_seen
        open("/dev/null", "w").write("")
        """
    )
    assert {"there.txt", "absent.txt", "some"} <= set(paths)
    # The importer lists the directory of the helper, whose file is looked at by itself.
    assert "." not in paths
    assert {"SOME_VARIABLE", "ANOTHER"} <= set(variables)
    assert objections == []


@pytest.mark.parametrize(
    ("act", "words"),
    [
        ('open("written.txt", "w")', "it writes"),
        ('open("there.txt", "r+")', "it writes"),
        ('os.remove("there.txt")', "it changes files"),
        ('os.mkdir("made")', "it changes files"),
        ('import subprocess; subprocess.run(["true"])', "it starts a process"),
        ('os.system("true")', "it starts a process"),
        ('import socket; socket.create_connection(("127.0.0.1", 9))', "it opens a connection"),
        ('import sqlite3; sqlite3.connect(":memory:")', "it opens a connection"),
        ("get_parsing_context()", "get_parsing_context"),
        ('os.environ.get("_AIRFLOW_PARSING_CONTEXT_TASK_ID")', "get_parsing_context"),
        ('Variable.get("a", default=None)', "asks Airflow for a variable"),
        ('BaseHook.get_connection("a")', "asks Airflow for a connection"),
        ('airflow.sdk.execution_time.task_runner.SUPERVISOR_COMMS.send("a")', "asks Airflow (str)"),
    ],
)
def test_it_objects_to_what_others_could_notice(witness, act, words):
    _, _, objections = witness(act)
    assert [words in objection for objection in objections[:1]] == [True], objections
