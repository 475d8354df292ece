from __future__ import annotations

import sys
import types

import pytest

from air_executor.airflow import sightings
from air_executor.airflow.installed import InstalledPackages
from air_executor.airflow.sightings import ImportRecorder
from air_executor.store.learned import LearnedFiles
from tests.support.packages import install


@pytest.fixture
def task_runner(monkeypatch):
    """Stands for Airflow's module of that name; its `main` is what a task does."""
    module = types.ModuleType("task_runner")
    module.main = lambda: "done"
    monkeypatch.setattr(sightings, "_MODULE", "air_test_task_runner")
    monkeypatch.setitem(sys.modules, "air_test_task_runner", module)
    return module


@pytest.fixture
def files(tmp_path):
    files = LearnedFiles(tmp_path / "preload" / "digest")
    files.create()
    return files


@pytest.fixture
def folders(tmp_path, monkeypatch):
    packages, dags = tmp_path / "site-packages", tmp_path / "dags"
    install(packages, "1", {"air_test_first": "import air_test_second\n", "air_test_second": "", "air_test_third": ""})
    dags.mkdir()
    for name in ("air_test_helper", "unusual_prefix_1234_dag"):
        (dags / f"{name}.py").touch()
    monkeypatch.syspath_prepend(str(dags))
    monkeypatch.syspath_prepend(str(packages))
    yield
    for name in [name for name in sys.modules if name.startswith(("air_test_", "unusual_prefix_1234"))]:
        del sys.modules[name]


def make(files, known=frozenset(), permits=None):
    return ImportRecorder(files, InstalledPackages(), known, permits)


def importing(*names):
    def main():
        for name in names:
            __import__(name)
        return "done"

    return main


def test_task_reports_what_it_has_imported_what_is_needed_first(files, task_runner, folders):
    task_runner.main = importing("air_test_first", "air_test_helper", "unusual_prefix_1234_dag")
    assert make(files).install()

    assert task_runner.main() == "done"

    (report,) = files.take_reports()
    assert report.modules == ("air_test_second", "air_test_first")
    assert report.elsewhere == ("air_test_helper",)


def test_task_that_imports_nothing_reports_nothing(files, task_runner):
    make(files).install()
    task_runner.main()
    assert not files.has_reports()


@pytest.mark.parametrize("error", [RuntimeError, SystemExit, KeyboardInterrupt])
def test_task_that_fails_reports_too(files, task_runner, folders, error):
    def main():
        __import__("air_test_third")
        raise error

    task_runner.main = main
    make(files).install()
    with pytest.raises(error):
        task_runner.main()
    assert [report.modules for report in files.take_reports()] == [("air_test_third",)]


def test_report_that_cannot_be_written_is_not_the_tasks_affair(files, task_runner, folders):
    task_runner.main = importing("air_test_third")
    make(files).install()
    files.reports.rmdir()
    assert task_runner.main() == "done"


def test_same_names_are_reported_only_a_few_times(files, task_runner, folders):
    recorder = make(files)
    recorder.install()
    __import__("air_test_third")
    assert [recorder.report() for _ in range(5)] == [True, True, True, False, False]


def test_names_from_elsewhere_alone_are_reported_once(files, task_runner, folders):
    recorder = make(files)
    recorder.install()
    __import__("air_test_helper")
    assert [recorder.report() for _ in range(3)] == [True, False, False]


def test_one_generation_leaves_a_bounded_number_of_reports(files, task_runner, folders, monkeypatch):
    monkeypatch.setattr(sightings, "_MOST_REPORTS", 1)
    recorder = make(files)
    recorder.install()
    __import__("air_test_third")
    assert recorder.report()
    __import__("air_test_second")
    assert not recorder.report()


def test_known_and_unwanted_names_are_not_reported(files, task_runner, folders):
    task_runner.main = importing("air_test_first", "air_test_third")
    make(files, frozenset({"air_test_third"}), lambda name: name != "air_test_second").install()
    task_runner.main()
    assert [report.modules for report in files.take_reports()] == [("air_test_first",)]


def test_hook_is_installed_once_and_not_where_there_is_no_place(files, task_runner):
    assert make(files).install()
    assert not make(files).install()
    del task_runner.main
    assert not make(files).install()
