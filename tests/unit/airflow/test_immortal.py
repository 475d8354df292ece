"""Immortal objects change nothing but memory: each case is a process of its own, since there is no way back."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import sysconfig
from types import SimpleNamespace

import pytest

from air_executor.airflow import huge_pages, immortal, preload

needs_immortality = pytest.mark.skipif(immortal.why_not() is not None, reason=str(immortal.why_not()))

PRELUDE = """
import gc, json, os, sys
from air_executor.airflow import immortal

def in_fork(work):
    gc.collect(); gc.freeze(); gc.disable()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            gc.enable()
            work()
            code = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""


def run(script, tmp_path):
    result = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", PRELUDE + script],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "AIRFLOW_HOME": str(tmp_path)},
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@needs_immortality
def test_work_of_all_kinds_goes_on_in_a_fork(tmp_path):
    run(
        """
import asyncio, collections, decimal, logging, pickle, tempfile, threading, weakref
from concurrent.futures import ThreadPoolExecutor

class Node:
    pass

kept = {"list": [1], "text": "a" * 500, "node": Node()}
assert immortal.make_all_immortal() > 10_000

def work():
    import sqlite3, xml.dom.minidom
    for _ in range(3):
        gc.collect()
    assert pickle.loads(pickle.dumps(kept["text"])) == kept["text"]
    kept["list"].extend(range(1000)); kept["list"].clear()
    kept["text"] += "b"
    assert kept["text"] == "a" * 500 + "b"
    kept["node"].attribute = kept
    del kept["node"]
    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(abs, range(-100, 0))) == 5050
    async def nothing():
        await asyncio.sleep(0)
    asyncio.run(nothing())
    # What is made afterwards dies as ever, cycles too.
    young = Node(); young.self = young
    watch = weakref.ref(young)
    del young
    gc.collect()
    assert watch() is None
    class Child(Node):
        pass
    watch = weakref.ref(Child)
    del Child
    gc.collect()
    assert watch() is None
    handler = logging.FileHandler(os.devnull)
    logging.getLogger("x").addHandler(handler)
    logging.getLogger("x").warning("text")
    gc.collect()
    # A fork of a fork, which ends as any Python does.
    pid = os.fork()
    if pid == 0:
        sys.exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) in (1, 7)

sys.exit(in_fork(work))
""",
        tmp_path,
    )


@needs_immortality
def test_airflow_parses_a_dag_and_renders_a_template_in_a_fork(tmp_path):
    (tmp_path / "dag.py").write_text(
        "from airflow.sdk import DAG\n"
        "from airflow.providers.standard.operators.bash import BashOperator\n"
        "with DAG('a', schedule=None):\n"
        "    BashOperator(task_id='b', bash_command='echo {{ 1 + 1 }}') >> BashOperator(task_id='c', bash_command='true')\n"
    )
    run(
        f"""
from air_executor.airflow import preload
preload._import_modules()
immortal.make_all_immortal()

def work():
    from airflow.dag_processing.dagbag import BundleDagBag
    bag = BundleDagBag({str(tmp_path / "dag.py")!r}, bundle_path={str(tmp_path)!r}, bundle_name='x')
    assert not bag.import_errors, bag.import_errors
    task = bag.dags["a"].get_task("b")
    environment = bag.dags["a"].get_template_env()
    assert task.render_template(task.bash_command, {{}}, environment) == "echo 2"
    gc.collect()

sys.exit(in_fork(work))
""",
        tmp_path,
    )


@needs_immortality
def test_files_and_generators_still_end_with_their_last_reference(tmp_path):
    run(
        """
ended = []
def generate():
    try:
        yield 1
    finally:
        ended.append(True)

generator = generate()
next(generator)
reader, writer = os.pipe()
file = os.fdopen(writer, "wb")
immortal.make_all_immortal()
del generator, file
assert ended == [True]
assert os.read(reader, 1) == b""
os._exit(0)
""",
        tmp_path,
    )


@needs_immortality
def test_shared_pages_stay_shared(tmp_path):
    script = """
kept = [[str(number), float(number)] for number in range(200_000)]
if {}:
    immortal.make_all_immortal()

def work():
    def private_kib():
        with open("/proc/self/smaps_rollup") as file:
            return sum(int(line.split()[1]) for line in file if line.startswith("Private_Dirty"))
    before = private_kib()
    for inner in kept:
        for item in inner:
            pass
    print(json.dumps(private_kib() - before), flush=True)

sys.exit(in_fork(work))
"""
    grown_kib = [json.loads(run(script.format(is_immortal), tmp_path)) for is_immortal in (False, True)]
    assert grown_kib[1] < grown_kib[0] / 4


@needs_immortality
def test_frozen_objects_are_found_and_collection_is_left_as_it_was(tmp_path):
    run(
        """
kept = [object()]
gc.freeze(); gc.disable()
immortal.make_all_immortal()
assert not gc.isenabled()
assert sys.getrefcount(kept) == sys.getrefcount(None) == sys.getrefcount(kept[0])
os._exit(0)
""",
        tmp_path,
    )


@needs_immortality
def test_text_by_which_a_dictionary_is_keyed_is_among_it(tmp_path):
    run(
        """
import collections
make_text = lambda what: "-".join(["a key", what])
kept = [{make_text("plain"): 1}, collections.OrderedDict({make_text("ordered"): 1}), {make_text("both"): 1, 2: 3}]
immortal.make_all_immortal()
for table in kept:
    for key in table:
        assert sys.getrefcount(key) == sys.getrefcount(None), key
os._exit(0)
""",
        tmp_path,
    )


@pytest.mark.parametrize("version", [(3, 10, 14), (3, 11, 9), (3, 14, 0)])
def test_versions_that_count_otherwise_are_left_alone(monkeypatch, version):
    monkeypatch.setattr(sys, "version_info", version)
    assert f"{version[0]}.{version[1]} counts references in another way" in immortal.why_not()
    with pytest.raises(RuntimeError, match="another way"):
        immortal.make_all_immortal()


def test_builds_that_count_otherwise_are_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 13, 0))
    monkeypatch.setattr(immortal, "_behaves_as_expected", lambda: True)
    assert immortal.why_not() is None
    monkeypatch.setattr(immortal, "_behaves_as_expected", lambda: False)
    assert "not where they were expected" in immortal.why_not()
    with monkeypatch.context() as patch:
        patch.setattr(sysconfig, "get_config_var", lambda name: name == "Py_GIL_DISABLED")
        assert "free-threaded" in immortal.why_not()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "gettotalrefcount", lambda: 0, raising=False)
        assert "debug" in immortal.why_not()
    with monkeypatch.context() as patch:
        patch.setattr(struct, "calcsize", lambda _: 4)
        assert "64-bit" in immortal.why_not()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "implementation", SimpleNamespace(name="pypy"))
        assert "pypy" in immortal.why_not()


@pytest.mark.parametrize("reason", [None, "unknown"])
def test_a_warm_parent_does_it_only_where_it_can(monkeypatch, reason):
    done = []
    monkeypatch.setattr(immortal, "why_not", lambda: reason)
    monkeypatch.setattr(immortal, "make_all_immortal", lambda: done.append(True))
    monkeypatch.setattr(huge_pages, "collapse", lambda: None)
    preload._make_objects_immortal()
    assert done == ([True] if reason is None else [])


@needs_immortality
def test_what_was_loaded_after_a_freeze_can_be_added(tmp_path):
    run(
        """
import gc
gc.collect()
gc.freeze()
new = {"new": ["n" * 300]}
assert immortal.make_new_immortal() > 0
assert sys.getrefcount(new["new"]) == sys.getrefcount(None)
assert sys.getrefcount(new["new"][0]) == sys.getrefcount(None)
sys.stdout.flush()
os._exit(0)
""",
        tmp_path,
    )
