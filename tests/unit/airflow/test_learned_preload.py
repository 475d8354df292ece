from __future__ import annotations

import sys
import types
from dataclasses import replace
from types import SimpleNamespace

import pytest

from air_executor.airflow import provenance, sightings
from air_executor.airflow.learned_modules import LearnedPolicy
from air_executor.airflow.learned_preload import GenerationRequest, LearnedPreload
from air_executor.core.preload import Began, Passed
from air_executor.store.learned import LearnedFiles
from air_executor.store.stamps import read_stamps


def test_own_words_are_taken_out_of_the_command_line():
    words = ["--learned", "/x", "--channel-fd", "3", "--generation", "g", "--mode", "trial", "--spool", "/s"]
    request, others = GenerationRequest.take(words)
    assert request is not None
    assert (str(request.files.directory), request.name, request.mode) == ("/x", "g", "trial")
    assert others == ["--channel-fd", "3", "--spool", "/s"]


def test_without_them_there_is_no_generation():
    assert GenerationRequest.take(["--channel-fd", "3"]) == (None, ["--channel-fd", "3"])


@pytest.mark.parametrize(
    "words",
    [
        ["--learned", "/x"],
        ["--learned", "/x", "--generation", "g"],
        ["--learned", "/x", "--generation", "g", "--mode", "wrong"],
        ["--generation", "g", "--mode", "trial"],
    ],
)
def test_half_a_request_is_refused(words):
    with pytest.raises(SystemExit, match="usage"):
        GenerationRequest.take(words)


@pytest.mark.parametrize(
    ("allow", "deny", "module", "is_permitted"),
    [
        ((), (), "pandas", True),
        (("pandas",), (), "pandas.core", True),
        (("pandas",), (), "numpy", False),
        (("google.cloud.*",), (), "google.cloud.storage", True),
        (("google.cloud.*",), (), "google", False),
        ((), ("tensorflow*",), "tensorflow_io.x", False),
        ((), ("pandas.io",), "pandas", True),
        ((), ("pandas.io",), "pandas.io.sql", False),
        (("pandas",), ("pandas",), "pandas", False),
    ],
)
def test_lists(allow, deny, module, is_permitted):
    assert LearnedPolicy(allow, deny).permits(module) is is_permitted


@pytest.fixture
def request_(tmp_path):
    files = LearnedFiles(tmp_path / "preload" / "digest")
    files.create()
    return GenerationRequest(files, "first", "verified")


@pytest.fixture
def task_runner(monkeypatch):
    module = types.ModuleType("task_runner")
    module.main = lambda: None
    monkeypatch.setattr(sightings, "_MODULE", "air_test_task_runner")
    monkeypatch.setitem(sys.modules, "air_test_task_runner", module)
    monkeypatch.setattr(provenance, "wait_until_settled", lambda directories: None)
    return module


def load(request_, **options):
    words = {"preload": True, "preload_learned": True, "preload_allow": (), "preload_deny": ()}
    learned = LearnedPreload(request_)
    learned.load(
        SimpleNamespace(**{**words, "preload_memory_limit_bytes": None, **options}), lambda section, name: None
    )
    learned.finish()
    return request_.files.read_record(request_.name)


def test_generation_says_what_it_was_made_from_and_has_tasks_report(request_, task_runner):
    original = task_runner.main
    began, passed = load(request_)

    assert isinstance(began, Began)
    assert passed == Passed(is_learning=True)
    assert task_runner.main is not original
    assert sys.executable in {stamp.path for stamp in read_stamps(request_.files.stamps("first"))}


@pytest.mark.parametrize("switch", ["preload", "preload_learned"])
def test_switched_off_it_still_tells_when_it_is_outdated(request_, task_runner, switch):
    original = task_runner.main
    _, passed = load(request_, **{switch: False})

    assert passed == Passed(is_learning=False)
    assert task_runner.main is original
    assert read_stamps(request_.files.stamps("first"))


def test_configuration_is_part_of_the_fingerprint_by_its_content(request_, task_runner, tmp_path, monkeypatch):
    config = tmp_path / "airflow.cfg"
    monkeypatch.setenv("AIRFLOW_CONFIG", str(config))
    fingerprints = []
    for number, text in enumerate(("a", "b", "b")):
        config.write_text(text)
        began, _ = load(replace(request_, name=f"generation-{number}"))
        del task_runner.main
        task_runner.main = lambda: None
        fingerprints.append(began.fingerprint)
    assert fingerprints[0] != fingerprints[1] == fingerprints[2]
