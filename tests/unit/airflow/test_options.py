from __future__ import annotations

import json
from pathlib import Path

import pytest

from air_executor.airflow import provider_info
from air_executor.airflow.options import OPTION_DESCRIPTIONS, read_options
from air_executor.errors import ConfigurationError


def read(environ=None, **texts):
    return read_options(lambda section, name: texts.get(name), environ or {})


def test_defaults_are_those_that_are_described():
    options = read()
    assert options.base_path == Path.cwd() / ".air-executor"
    assert options.autostart_manager
    assert options.slots == 0
    assert options.sync_linger_s == 0.25
    assert options.task_memory_limit_bytes is None


def test_the_variable_comes_before_the_file():
    assert read({"AIR_EXECUTOR_BASE_PATH": "/srv/air"}, base_path="/etc/air").base_path == Path("/srv/air")
    assert read(base_path="/etc/air").base_path == Path("/etc/air")


@pytest.mark.parametrize(
    ("text", "size_bytes"), [("2G", 2 * 1024**3), ("512m", 512 * 1024**2), ("1000", 1000), ("1.5KB", 1536), ("0", None)]
)
def test_sizes(text, size_bytes):
    assert read(task_memory_limit=text).task_memory_limit_bytes == size_bytes


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("slots", "many"),
        ("slots", "-1"),
        ("sync_linger", "inf"),
        ("sync_linger", "nan"),
        ("prompt_exit", "perhaps"),
        ("task_memory_limit", "2 apples"),
        ("task_memory_limit", "-5M"),
        ("preload_memory_limit", "lots"),
        ("queue_environments", "ml: /opt/bin/python"),
        ("queue_environments", "[]"),
        ("queue_environments", '{"ml": 7}'),
    ],
)
def test_a_wrong_value_names_the_option(name, text):
    with pytest.raises(ConfigurationError, match=rf"\[air_executor\] {name} ="):
        read(**{name: text})


def test_modules_are_separated_by_commas_or_spaces():
    assert read(preload_deny="pandas, google.cloud.*\n ddtrace").preload_deny == ("pandas", "google.cloud.*", "ddtrace")
    assert read().preload_allow == ()
    with pytest.raises(ConfigurationError, match=r"preload_allow: 'rm;-rf' is no name or pattern"):
        read(preload_allow="rm;-rf")


def test_learned_modules_are_limited_by_default():
    assert read().preload_memory_limit_bytes == 512 * 1024**2
    assert read(preload_memory_limit="0").preload_memory_limit_bytes is None


def test_interpreters_of_queues_are_absolute_paths():
    assert read(queue_environments='{"ml": "/opt/ml/bin/python"}').queue_environments == {"ml": "/opt/ml/bin/python"}
    assert read().queue_environments == {}
    for python in ("python", "~/bin/python", "/opt/bin\npython"):
        with pytest.raises(ConfigurationError, match="queue 'ml' needs the absolute path"):
            read(queue_environments=json.dumps({"ml": python}))


def test_the_example_file_shows_every_option_with_its_default():
    example = (Path(__file__).parents[3] / "airflow.cfg.example").read_text()
    for option in OPTION_DESCRIPTIONS:
        assert f"\n{option.name} = {option.default}".rstrip() in example


def test_provider_info_describes_every_option():
    described = provider_info.get_provider_info()["config"]["air_executor"]["options"]
    assert list(described) == [option.name for option in OPTION_DESCRIPTIONS]
    assert all(option["description"].strip() and option["version_added"] for option in described.values())
