from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from air_executor.airflow.dag_parse import DagFile
from air_executor.airflow.dag_templates import DagTemplates
from air_executor.airflow.options import read_options
from air_executor.process.protocol import Launch
from air_executor.process.templates import Standing
from air_executor.store.stamps import take_stamp

WORKLOAD = {
    "type": "ExecuteTask",
    "token": "secret",
    "ti": {"id": "1"},
    "dag_rel_path": "sub/file.py",
    "bundle_info": {"name": "dags", "version": None},
    "log_path": "x",
}


def make_plan(notes=None, **options):
    defaults = replace(read_options(lambda section, name: None, {}), **options)
    return DagTemplates(
        defaults, import_limit_s=30, set_up_logging=lambda: None, note=[].append if notes is None else notes.append
    )


@pytest.fixture
def launch(tmp_path):
    def make(workload=WORKLOAD, **env):
        path = tmp_path / "workload.json"
        path.write_text(workload if isinstance(workload, str) else json.dumps(workload))
        return Launch(attempt_id="a", log_path="/log", command="x", workload_path=str(path), env=env)

    return make


@pytest.mark.parametrize(
    ("option", "asked", "is_wanted"),
    [
        (False, None, False),
        (True, None, True),
        (False, "1", True),
        (True, "0", False),
    ],
)
def test_option_and_dag_decide(launch, option, asked, is_wanted):
    env = {} if asked is None else {"AIR_EXECUTOR_DAG_TEMPLATE": asked}
    key = make_plan(dag_templates=option).find_key(launch(**env))
    assert key == (DagFile("dags", None, "sub/file.py") if is_wanted else None)


def test_no_age_turns_them_off(launch):
    assert make_plan(dag_templates=True, dag_template_max_age_s=0.0).find_key(launch()) is None


@pytest.mark.parametrize(
    "workload",
    ["", "[]", "{", '{"type": "TestConnection", "token": ""}', json.dumps({**WORKLOAD, "bundle_info": 3}), "[" * 9999],
)
def test_what_is_no_task_of_a_dag_file_has_none(launch, workload):
    assert make_plan(dag_templates=True).find_key(launch(workload)) is None


def test_a_workload_that_is_gone_has_none(launch):
    found = launch()
    Path(found.workload_path).unlink()
    assert make_plan(dag_templates=True).find_key(found) is None


def test_versions_of_a_bundle_are_told_apart(launch):
    plan = make_plan(dag_templates=True)
    workload = {**WORKLOAD, "bundle_info": {"name": "dags", "version": "abc"}}
    assert plan.find_key(launch(workload)) != plan.find_key(launch())


def test_working_directories_are_told_apart(launch):
    plan = make_plan(dag_templates=True)
    (key, other) = (plan.find_key(msgspec.structs.replace(launch(), cwd=cwd)) for cwd in ("/one", "/other"))
    assert key == DagFile("dags", None, "sub/file.py", "/one")
    assert key != other


def test_a_change_of_anything_that_was_read_is_noticed(tmp_path):
    read = tmp_path / "read.py"
    read.write_text("1")
    facts = {
        "stamps": [[stamp.path, stamp.mtime_ns, stamp.size_bytes, stamp.inode] for stamp in [take_stamp(str(read))]]
    }
    plan = make_plan()
    assert plan.why_outdated(facts) is None
    read.write_text("11")
    assert plan.why_outdated(facts) == str(read)
    read.unlink()
    assert plan.why_outdated(facts) == str(read)
    assert plan.why_outdated({}) is None


def test_a_task_with_another_value_of_a_variable_that_was_asked_for_parses_itself(launch, monkeypatch):
    monkeypatch.setenv("SAME", "1")
    plan, facts = make_plan(), {"variables": ["SAME", "ASKED"]}
    assert plan.suits(launch(OTHER="2", SAME="1"), facts)
    assert not plan.suits(launch(ASKED="2"), facts)
    assert not plan.suits(launch(SAME="2"), facts)


def test_standings_are_noted_for_people():
    notes = []
    key = DagFile("dags", "v1", "file.py")
    facts = {"seconds": 1.5, "memory_bytes": 10, "stamps": [["/x", None, 0, 0]]}
    make_plan(notes).note([Standing(key, facts, "it is so"), Standing(key, {}, None)])
    (first, second) = notes[0]
    assert (first.bundle, first.version, first.path, first.reason) == ("dags", "v1", "file.py", "it is so")
    assert (first.seconds, first.memory_bytes) == (1.5, 10)
    assert second.reason is None
