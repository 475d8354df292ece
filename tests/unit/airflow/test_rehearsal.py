"""What is done before the first fork leaves nothing behind but speed."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace

import pytest
from pydantic import TypeAdapter

from air_executor.airflow import adapters, rehearsal


@pytest.fixture
def comms(monkeypatch):
    import airflow.sdk.execution_time.comms as module

    monkeypatch.setattr(module, "TypeAdapter", TypeAdapter)
    return module


def test_parsing_leaves_no_module_and_no_descriptor():
    before, path = set(sys.modules), list(sys.path)
    descriptors = len(os.listdir("/proc/self/fd"))
    rehearsal.rehearse_parsing()
    assert not [name for name in set(sys.modules) - before if "rehearsal" in name]
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert sys.path == path


def test_a_policy_that_refuses_the_rehearsed_dag_is_no_failure(monkeypatch):
    monkeypatch.setattr(rehearsal, "_DAG_FILE", "raise RuntimeError('refused')")
    rehearsal.rehearse_parsing()


def test_requests_open_no_connection(monkeypatch):
    import socket

    def refuse(*_, **__):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    rehearsal.rehearse_requests()


def test_adapters_are_built_once_and_decode_as_before(comms):
    assert "airflow.sdk.execution_time.comms" in adapters.share()
    assert "airflow.sdk.execution_time.comms" not in adapters.share()
    shared = comms.TypeAdapter(comms.ToTask)
    assert comms.TypeAdapter(comms.ToTask) is shared
    message = {"type": "VariableResult", "key": "a", "value": "b"}
    assert shared.validate_python(message) == TypeAdapter(comms.ToTask).validate_python(message)


def test_other_adapters_are_built_as_ever(comms):
    adapters.share()
    assert comms.TypeAdapter(int).validate_python("1") == 1
    assert comms.TypeAdapter[int](int).validate_python("1") == 1
    assert comms.TypeAdapter(comms.ToTask, config=None) is not comms.TypeAdapter(comms.ToTask)


def test_a_module_that_names_another_class_is_left_alone(monkeypatch):
    other = SimpleNamespace(TypeAdapter=dict, ToTask=int)
    monkeypatch.setitem(sys.modules, "airflow.sdk.execution_time.comms", other)
    assert "airflow.sdk.execution_time.comms" not in adapters.share()
    assert other.TypeAdapter is dict
