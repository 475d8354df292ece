from __future__ import annotations

from types import SimpleNamespace

import pytest

from air_executor.airflow.executor_config import read_executor_config
from air_executor.errors import ConfigurationError


def read(config):
    return read_executor_config(SimpleNamespace(ti=SimpleNamespace(executor_config=config)))


@pytest.mark.parametrize("config", [None, {}, {"pod_override": object()}, "text", {"air_executor": {}}])
def test_what_says_nothing_to_this_executor_changes_nothing(config):
    assert read(config).variables() == {}


def test_a_workload_without_task_says_nothing():
    assert read_executor_config(SimpleNamespace(callback=None)).variables() == {}


@pytest.mark.parametrize(("asked", "text"), [(True, "1"), (False, "0")])
def test_a_dag_may_ask_for_templates_or_against_them(asked, text):
    assert read({"air_executor": {"dag_template": asked}}).variables() == {"AIR_EXECUTOR_DAG_TEMPLATE": text}


@pytest.mark.parametrize(
    ("own", "words"),
    [
        (True, "use a dictionary"),
        ({"dag_template": "yes"}, "use True or False"),
        ({"dag_template": 1}, "use True or False"),
        ({"template": True}, "knows no 'template'"),
    ],
)
def test_a_mistake_is_named_with_the_remedy(own, words):
    with pytest.raises(ConfigurationError, match=words):
        read({"air_executor": own})
