"""What is rehearsed leaves the process as it was, also where it fails."""

from __future__ import annotations

import os
import signal
import sys
from types import SimpleNamespace

import pytest
import structlog

from air_executor.airflow import rehearsal_stage
from air_executor.airflow.process_state import ProcessState
from air_executor.airflow.rehearsal_stage import perform, replaced


@pytest.fixture(autouse=True)
def variables(monkeypatch):
    monkeypatch.setenv("AIR_TEST_CHANGED", "old")
    monkeypatch.setenv("AIR_TEST_REMOVED", "old")


def spoil(directory):
    os.environ["AIR_TEST_ADDED"] = "new"
    os.environ["AIR_TEST_CHANGED"] = "new"
    del os.environ["AIR_TEST_REMOVED"]
    sys.path.append(str(directory))
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    structlog.contextvars.bind_contextvars(ti_id="rehearsed")
    structlog.configure(processors=[])


def test_what_tasks_do_to_a_process_is_undone():
    before = ProcessState.take()
    processors = structlog.get_config()["processors"]
    perform(spoil)
    assert before.find_objection() is None
    assert structlog.contextvars.get_contextvars() == {}
    assert structlog.get_config()["processors"] == processors


def test_it_is_undone_after_an_error_too():
    before = ProcessState.take()

    def fail(directory):
        spoil(directory)
        raise RuntimeError("failed")

    with pytest.raises(RuntimeError, match="failed"):
        perform(fail)
    assert before.find_objection() is None
    assert structlog.contextvars.get_contextvars() == {}


def test_no_handler_of_signals_is_ever_set():
    handlers = []

    def act(_):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        handlers.append(signal.getsignal(signal.SIGTERM))

    perform(act)
    assert handlers == [signal.getsignal(signal.SIGTERM)]
    assert handlers != [signal.SIG_IGN]


def test_the_directory_and_what_was_imported_from_it_are_gone():
    directories = []

    def act(directory):
        directories.append(directory)
        (directory / "air_test_staged.py").write_text("")
        sys.path.append(str(directory))
        __import__("air_test_staged")

    perform(act)
    assert not directories[0].exists()
    assert "air_test_staged" not in sys.modules
    assert not [entry for entry in sys.path_importer_cache if str(directories[0]) in str(entry)]


def test_a_logger_does_not_remember_the_stage():
    logger = structlog.get_logger("air_test")
    kept = structlog.get_config()
    structlog.configure(cache_logger_on_first_use=True)
    try:
        perform(lambda _: logger.info("heard by nobody"))
        assert "bind" not in vars(logger)
        assert structlog.get_config()["cache_logger_on_first_use"] is True
    finally:
        structlog.configure(**kept)


def test_nothing_is_said(capfd):
    perform(lambda _: (os.write(1, b"said"), os.write(2, b"said")))
    assert capfd.readouterr() == ("", "")


def test_output_goes_on_after_an_error(capfd):
    def fail():
        with rehearsal_stage.quiet():
            os.write(2, b"hidden")
            raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        fail()
    os.write(2, b"shown")
    assert capfd.readouterr().err == "shown"


def test_attributes_are_put_back_and_added_ones_removed():
    owner = SimpleNamespace(known=1)
    with replaced(owner, known=2, unknown=3):
        assert (owner.known, owner.unknown) == (2, 3)
    assert vars(owner) == {"known": 1}


def test_an_inherited_attribute_is_inherited_again():
    class Base:
        known = 1

    class Derived(Base):
        pass

    with replaced(Derived, known=2):
        assert Derived.known == 2
    assert "known" not in vars(Derived)


def test_a_refused_replacement_undoes_those_before_it():
    owner = SimpleNamespace(known=1)
    with pytest.raises(TypeError), replaced(owner, known=2), replaced(dict, known=3):
        pass
    assert vars(owner) == {"known": 1}
