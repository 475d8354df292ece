"""Logging is set up as `dictConfig` does it, but what is as it is to be is not written to."""

from __future__ import annotations

import io
import logging
import logging.config
import os

import pytest
from airflow.sdk.execution_time import supervisor

from air_executor.airflow import task_logging
from air_executor.airflow.task_logging import loggers_spared

CONFIG = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"default": {"class": "logging.StreamHandler", "stream": None}},
    "loggers": {"spared": {"level": "WARNING"}, "spared.named": {"level": "DEBUG", "propagate": False}},
    "root": {"handlers": ["default"], "level": "INFO"},
}


class Recorder(logging.Logger):
    """A logger that tells what is written to it."""

    written: list[tuple[str, str]] = []  # noqa: RUF012

    def __setattr__(self, name: str, value: object) -> None:
        self.written.append((vars(self).get("name", ""), name))
        super().__setattr__(name, value)


@pytest.fixture(autouse=True)
def loggers(monkeypatch):
    """A tree of loggers of its own."""
    root = logging.RootLogger(logging.WARNING)
    manager = logging.Manager(root)
    manager.setLoggerClass(Recorder)
    monkeypatch.setattr(logging, "root", root)
    monkeypatch.setattr(logging.Logger, "root", root)
    monkeypatch.setattr(logging.Logger, "manager", manager)
    monkeypatch.setattr(logging, "_handlers", {})
    monkeypatch.setattr(logging, "_handlerList", [])
    return manager


def make_loggers(manager):
    for name in ("spared.below", "spared.below.it", "beside.it", "spared.named.x", "off", "plain"):
        manager.getLogger(name)
    below = manager.getLogger("spared.below")
    below.setLevel(logging.ERROR)
    below.addHandler(logging.NullHandler())
    below.propagate = False
    manager.getLogger("off").disabled = True
    manager.getLogger("beside.it").setLevel(logging.CRITICAL)


def set_up(**changes):
    config = {**CONFIG, **changes}
    config["handlers"] = {"default": {**CONFIG["handlers"]["default"], "stream": io.StringIO()}}
    logging.config.dictConfig(config)


def describe(manager):
    return {
        name: "placeholder"
        if isinstance(logger, logging.PlaceHolder)
        else (
            *(logger.level, logger.propagate, bool(logger.disabled), [type(each) for each in logger.handlers]),
            *(logger.isEnabledFor(level) for level in (10, 20, 30, 40, 50)),
        )
        for name, logger in {"": logging.root, **manager.loggerDict}.items()
    }


@pytest.mark.parametrize("disables", [False, True])
def test_loggers_are_what_dict_config_makes_of_them(loggers, monkeypatch, disables):
    make_loggers(loggers)
    before = describe(loggers)
    with loggers_spared():
        set_up(disable_existing_loggers=disables)
    spared = describe(loggers)
    loggers.loggerDict.clear()
    logging.root.setLevel(logging.WARNING)
    make_loggers(loggers)
    # Fills what they cache.
    describe(loggers)
    set_up(disable_existing_loggers=disables)
    assert spared == describe(loggers) != before


def test_what_is_as_it_is_to_be_is_not_written_to(loggers):
    make_loggers(loggers)
    set_up()
    Recorder.written.clear()
    with loggers_spared():
        set_up()
    assert {name for name, _ in Recorder.written} <= {"spared", "spared.named"}
    Recorder.written.clear()
    set_up()
    assert {name for name, _ in Recorder.written} > {"spared", "spared.named"}


def test_logging_is_as_ever_afterwards(loggers):
    with loggers_spared():
        set_up()
    logger = loggers.getLogger("spared.below")
    assert not logger.isEnabledFor(logging.INFO)
    loggers.getLogger("spared").setLevel(logging.INFO)
    assert logger.isEnabledFor(logging.INFO)
    assert "_clear_cache" not in vars(loggers)


def test_airflow_sets_up_the_logging_of_tasks_in_this_way(monkeypatch):
    original = supervisor._configure_logs_over_json_channel
    monkeypatch.setattr(supervisor, "_configure_logs_over_json_channel", original)
    seen = []
    monkeypatch.setattr("airflow.sdk.log.configure_logging", lambda **options: seen.append(options))
    monkeypatch.setattr(
        "airflow.sdk.log.reset_logging", lambda: seen.append("_clear_cache" in vars(logging.root.manager))
    )
    assert task_logging.install()
    assert not task_logging.install()
    reader, writer = os.pipe()
    supervisor._configure_logs_over_json_channel(writer)
    assert seen[0] is True
    assert seen[1]["output"].fileno() == writer
    seen[1]["output"].close()
    os.close(reader)


def test_an_airflow_that_does_it_otherwise_is_left_alone(monkeypatch):
    monkeypatch.delattr(supervisor, "_configure_logs_over_json_channel")
    assert not task_logging.install()
