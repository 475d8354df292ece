from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
import types

import pytest

from air_executor.airflow import provenance
from air_executor.airflow.installed import InstalledPackages, find_distributions, find_origin
from tests.support.packages import install


@pytest.fixture
def packages(tmp_path, monkeypatch):
    directory = tmp_path / "venv" / "site-packages"
    install(directory, "1", {"tested_module": "X = 1\n"})
    monkeypatch.syspath_prepend(str(directory))
    return directory


def test_files_of_packages_and_of_the_standard_library_are_installed(packages):
    installed = InstalledPackages()
    assert installed.holds(str(packages / "tested_module.py"))
    assert installed.holds(json.__file__)
    assert installed.holds(pytest.__file__)


def test_other_files_are_not(packages, tmp_path):
    installed = InstalledPackages()
    assert not installed.holds(str(tmp_path / "dags" / "helper.py"))
    assert not installed.holds(str(tmp_path / "venv" / "site-packages-of-mine" / "helper.py"))
    assert not installed.holds(__file__)


def test_the_nearest_directory_decides(packages, tmp_path):
    around = InstalledPackages([str(tmp_path), "/"])
    assert around.holds(str(packages / "tested_module.py"))

    within = InstalledPackages([str(packages / "dags")])
    assert within.holds(str(packages / "tested_module.py"))
    assert not within.holds(str(packages / "dags" / "daily.py"))


def test_fingerprint_is_that_of_what_is_installed(packages):
    before = InstalledPackages().fingerprint()
    assert InstalledPackages().fingerprint() == before
    assert InstalledPackages().fingerprint("another airflow.cfg") != before

    install(packages, "1", {"tested_module": "X = 1\n"})
    again = InstalledPackages().fingerprint()
    install(packages, "2", {"tested_module": "X = 2\n"})

    assert len({before, again, InstalledPackages().fingerprint()}) == 3


def test_origin_is_told_for_real_modules_only():
    assert find_origin("json", json) == json.__file__
    assert find_origin("sys", sys) is None
    assert find_origin("os.path", os.path) is None
    assert find_origin("thing", object()) is None
    assert find_origin("made", types.ModuleType("made")) is None


def test_a_module_is_not_asked_for_its_origin():
    class Evil(types.ModuleType):
        def __getattr__(self, name):
            raise AssertionError("was asked")

    evil = Evil("evil")
    del evil.__spec__
    assert find_origin("evil", evil) is None
    evil.__spec__ = "no spec"
    assert find_origin("evil", evil) is None
    evil.__spec__ = importlib.util.spec_from_file_location("evil", "/x/evil.py")
    evil.__spec__.origin = 7
    assert find_origin("evil", evil) is None


def test_distributions_are_found_by_module(packages):
    assert find_distributions(["tested_module", "nobody"]) == {"tested_module": ["tested"]}


def read_options(**texts):
    return lambda section, name: texts.get(name)


def test_code_that_may_change_lies_in_folders_of_dags_bundles_and_plugins(tmp_path):
    bundles = [{"name": "git", "kwargs": {"path": "/srv/bundle"}}, {"name": "odd", "kwargs": {}}]
    found = provenance.list_volatile(
        read_options(
            dags_folder="/srv/dags",
            plugins_folder="~/plugins",
            dag_bundle_config_list=json.dumps(bundles),
            dag_bundle_storage_path="/srv/storage",
        )
    )
    assert found == ["/srv/dags", os.path.expanduser("~/plugins"), "/srv/bundle", os.getcwd(), "/srv/storage"]


@pytest.mark.parametrize("text", ["{", "7", "[7]", '[{"kwargs": 7}]', '[{"kwargs": {"path": 7}}]', ""])
def test_broken_bundle_configuration_is_airflows_affair(text):
    assert os.getcwd() in provenance.list_volatile(read_options(dag_bundle_config_list=text))


def test_names_of_modules_in_dag_folders(tmp_path):
    for name in (
        "daily.py",
        "lib/helper.py",
        "lib/deep/er/x.py",
        "data/readme.txt",
        ".hidden/no.py",
        "__pycache__/c.py",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = provenance.list_dag_modules(read_options(dags_folder=str(tmp_path)))
    assert found == {"daily", "lib", "helper", "er", "x"}
    assert provenance.list_dag_modules(read_options(dags_folder="/nowhere")) == frozenset()


def test_stamps_cover_packages_configuration_plugins_and_own_code(packages, tmp_path):
    plugins = tmp_path / "plugins"
    (plugins / "more").mkdir(parents=True)
    config = tmp_path / "airflow.cfg"
    stamps = {each.path: each for each in provenance.take_stamps(InstalledPackages(), [str(config)], str(plugins), 0)}

    assert {str(packages), str(config), str(plugins), str(plugins / "more"), sys.executable, __file__} <= stamps.keys()
    assert stamps[str(config)].mtime_ns is None
    assert pytest.__file__ not in stamps


def test_what_was_written_while_loading_is_stamped_as_changed(tmp_path):
    path = tmp_path / "file"
    path.touch()
    assert provenance.stamp_unless_changed(str(path), time.time_ns() - 10**12).mtime_ns == -1
    assert provenance.stamp_unless_changed(str(path), time.time_ns() + 1).mtime_ns == path.stat().st_mtime_ns
    # A wrong clock must not renew a warm parent before each task.
    future = time.time() + 3600
    os.utime(path, (future, future))
    assert provenance.stamp_unless_changed(str(path), time.time_ns()).mtime_ns == path.stat().st_mtime_ns


def test_installation_under_way_is_waited_for(tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr(time, "sleep", lambda seconds: waits.append(os.utime(tmp_path, (1, 1))))
    provenance.wait_until_settled([str(tmp_path)])
    assert len(waits) == 1
    future = time.time() + 3600
    os.utime(tmp_path, (future, future))
    provenance.wait_until_settled([str(tmp_path), "/nowhere"])
    assert len(waits) == 1
