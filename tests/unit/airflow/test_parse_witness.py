"""What a parse depends on, and what rules out to share it. Each case in a fork of its own: an audit hook stays for ever."""

from __future__ import annotations

import compileall
import importlib.util
import json
import os
import subprocess
import sys
import textwrap

import pytest

NUMPY = pytest.mark.skipif(importlib.util.find_spec("numpy") is None, reason="numpy is not installed")

FORKER = """
import json, os, sys, traceback
import airflow.sdk, airflow.sdk.definitions.context, airflow.sdk.execution_time.task_runner
import air_executor.airflow.parse_witness

for line in sys.stdin:
    cwd, script = json.loads(line)
    child = os.fork()
    if child == 0:
        os.chdir(cwd)
        with open("said.txt", "w") as said:
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
        try:
            exec(script, {"__name__": "__main__"})
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        sys.stdout.flush()
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
FRAME = """
import json, os, random, sys
import airflow.sdk.execution_time.task_runner
from airflow.sdk import Variable, BaseHook
from airflow.sdk.definitions.context import get_parsing_context
from air_executor.airflow.parse_witness import ParseWitness

before = os.environ.__class__.__getitem__
seed = random.seed
{before}
with ParseWitness() as witness:
    try:
{act}
    except Exception as error:
        print(repr(error), file=sys.stderr)
open("after.txt", "w").close()
assert not [finder for finder in sys.meta_path if "air_executor" in type(finder).__module__]
assert random.seed == seed
assert os.environ.__class__.__getitem__ is before
assert not hasattr(airflow.sdk.execution_time.task_runner, "SUPERVISOR_COMMS")
found = [os.path.relpath(path) for path in witness.stamps if path.startswith(os.getcwd())]
print(json.dumps([sorted(found), sorted(witness.variables), witness.objections]))
"""


@pytest.fixture(scope="module")
def forker():
    """A process that has imported Airflow once, and forks for each case."""
    command = [sys.executable, "-W", "ignore", "-c", FORKER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.stdin.close()


@pytest.fixture
def witness(tmp_path, forker):
    (tmp_path / "there.txt").write_text("there")
    (tmp_path / "some").mkdir()
    (tmp_path / "helper_seen.py").write_text("WORD = 1\n")
    (tmp_path / "helper_failing.py").write_text("raise ImportError\n")
    (tmp_path / "package_seen").mkdir()
    (tmp_path / "package_seen" / "__init__.py").write_text("")
    (tmp_path / "package_seen" / "data.txt").write_text("data")

    def watch(act, before=""):
        script = FRAME.format(before=textwrap.dedent(before), act=textwrap.indent(textwrap.dedent(act), " " * 8))
        print(json.dumps([str(tmp_path), script]), file=forker.stdin, flush=True)
        code = forker.stdout.readline().strip()
        assert code, "the process that forks has ended"
        said = (tmp_path / "said.txt").read_text()
        assert code == "0", said
        return json.loads(said.splitlines()[-1])

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
    # The importer lists the directory of the helper, and writes bytecode into it; the file of the helper is what counts.
    assert "." not in paths
    assert "helper_seen.py" in paths
    assert {"SOME_VARIABLE", "ANOTHER"} <= set(variables)
    assert objections == []


def test_it_sees_what_threads_of_the_file_do_and_not_what_others_do(witness):
    other = """
        import threading
        begin, done = threading.Event(), threading.Event()
        def read_other():
            begin.wait()
            open("there.txt").read()
            os.mkdir("made")
            done.set()
        threading.Thread(target=read_other).start()
        """
    paths, _, objections = witness(
        """
        begin.set()
        assert done.wait(60)
        own = threading.Thread(target=lambda: os.listdir("some"))
        own.start()
        own.join()
        """,
        before=other,
    )
    assert "some" in paths
    assert "there.txt" not in paths
    assert objections == []


_BY_FILE = """
from importlib.util import module_from_spec, spec_from_file_location
spec = spec_from_file_location("alias", "helper_seen.py")
spec.loader.exec_module(module_from_spec(spec))
"""


@pytest.mark.parametrize("is_cached", [False, True])
@pytest.mark.parametrize(
    ("act", "path"),
    [
        (_BY_FILE, "helper_seen.py"),
        ("import helper_seen; sys.modules['alias'] = sys.modules.pop('helper_seen')", "helper_seen.py"),
        ("import helper_failing", "helper_failing.py"),
        ("import package_seen, pkgutil; pkgutil.get_data('package_seen', 'data.txt')", "package_seen/data.txt"),
        ("import package_seen, pkgutil; pkgutil.get_data('package_seen', 'absent.txt')", "package_seen/absent.txt"),
    ],
)
def test_it_sees_what_the_importer_reads(witness, tmp_path, is_cached, act, path):
    if is_cached:
        # Then the importer reads bytecode alone.
        assert compileall.compile_dir(str(tmp_path), quiet=1)
    paths, _, objections = witness("sys.path.insert(0, os.getcwd())\n" + act)
    assert path in paths
    assert not [path for path in paths if path.endswith(".pyc")]
    assert objections == []


@pytest.mark.parametrize(
    ("act", "paths"),
    [
        ("import not_there", {"not_there.py", "not_there/__init__.py"}),
        ("import importlib; importlib.import_module('not_there')", {"not_there.py"}),
        ("from package_seen import not_there", {"package_seen/not_there.py"}),
    ],
)
def test_it_sees_where_a_module_might_appear(witness, act, paths):
    found, _, objections = witness("sys.path.insert(0, os.getcwd())\n" + act)
    assert paths <= set(found)
    # Not where those might that were found.
    assert "package_seen.py" not in found
    assert objections == []


def test_what_is_read_is_stamped_before_that(tmp_path):
    script = """
        import os, sys
        os.chdir(sys.argv[1])
        import airflow.sdk.execution_time.task_runner
        from air_executor.airflow.parse_witness import ParseWitness
        from air_executor.store.stamps import find_changed, take_stamp
        with ParseWitness(lambda path: path.endswith("installed.txt")) as witness:
            before = take_stamp(os.path.abspath("read.txt"))
            open("read.txt").read()
            os.replace("other.txt", "read.txt")
            open("read.txt").read()
            open("installed.txt").read()
        assert witness.stamps == {before.path: before}, witness.stamps
        assert find_changed(witness.stamps.values()) == before.path
    """
    for name in ("read", "other", "installed"):
        (tmp_path / f"{name}.txt").write_text("same size")
        os.utime(tmp_path / f"{name}.txt", (1_700_000_000, 1_700_000_000))
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script), str(tmp_path)], timeout=120, check=True
    )


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
        ('open("/dev/shm/no-such-directory/file", "w")', "it writes"),
        ("import random; random.seed(42)", "seeds random numbers (random.seed)"),
        ("from random import setstate, getstate; setstate(getstate())", "seeds random numbers (random.setstate)"),
        pytest.param("import numpy; numpy.random.seed(42)", "seeds random numbers (numpy.random.seed)", marks=NUMPY),
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
