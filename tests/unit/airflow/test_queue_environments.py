from __future__ import annotations

import os
import sys

import pytest

from air_executor.airflow.environment_snapshot import EnvironmentSnapshot
from air_executor.airflow.queue_environments import QueueEnvironments, use_python
from air_executor.errors import ConfigurationError

OWN = EnvironmentSnapshot(
    "/own/bin/python", {"PATH": "/own/bin:/usr/bin", "VIRTUAL_ENV": "/own", "PYTHONHOME": "/x", "SECRET": "s"}, "/srv"
)


@pytest.fixture
def saved():
    return []


def make(saved, **pythons):
    def save(snapshot):
        saved.append(snapshot)
        return f"digest-{len(saved)}"

    return QueueEnvironments(pythons, OWN, save)


def test_most_queues_have_the_schedulers_environment(saved):
    environments = make(saved, ml=sys.executable)
    assert environments.find("default") == environments.find(None) == environments.default == "digest-1"
    assert saved == [OWN]


def test_a_queue_has_its_own_saved_once(saved):
    environments = make(saved, ml=sys.executable, other=sys.executable)
    assert environments.find("ml") == environments.find("other") == "digest-2"
    assert saved[1].python == sys.executable
    assert len(saved) == 2


def test_interpreter_that_cannot_be_used_is_named_with_its_queue(saved, tmp_path):
    environments = make(saved, ml=str(tmp_path / "python"))
    with pytest.raises(ConfigurationError, match=r"queue_environments: queue 'ml' names .*python"):
        environments.find("ml")
    (tmp_path / "python").touch()
    with pytest.raises(ConfigurationError):
        environments.find("ml")
    (tmp_path / "python").chmod(0o700)
    assert environments.find("ml") == "digest-2"


def test_programs_of_the_other_environment_come_first(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "pyvenv.cfg").touch()
    found = use_python(OWN, str(tmp_path / "bin" / "python"))

    assert found.variables["PATH"].split(os.pathsep)[:2] == [str(tmp_path / "bin"), "/own/bin"]
    assert found.variables["VIRTUAL_ENV"] == str(tmp_path)
    assert "PYTHONHOME" not in found.variables
    assert (found.variables["SECRET"], found.cwd) == ("s", "/srv")


def test_interpreter_outside_of_a_virtual_environment(tmp_path):
    assert "VIRTUAL_ENV" not in use_python(OWN, "/usr/bin/python3").variables
