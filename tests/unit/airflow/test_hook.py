from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from air_executor.airflow import hook as hook_module
from air_executor.airflow.hook import AirExecutorHook
from air_executor.airflow.provider_info import get_provider_info
from air_executor.airflow.sdk_compat import AirflowNotFoundException
from air_executor.errors import ConfigurationError, ManagerNotRunningError


@pytest.fixture
def connections(monkeypatch):
    """What Airflow knows: extra by connection id."""
    known: dict[str, object] = {}

    def get(conn_id):
        if conn_id not in known:
            raise AirflowNotFoundException(f"The conn_id `{conn_id}` isn't defined")
        extra = known[conn_id]
        return SimpleNamespace(conn_id=conn_id, extra=extra if isinstance(extra, str) else json.dumps(extra))

    async def aget(conn_id):
        return get(conn_id)

    monkeypatch.setattr(AirExecutorHook, "get_connection", staticmethod(get))
    monkeypatch.setattr(AirExecutorHook, "aget_connection", staticmethod(aget))
    return known


def test_connection_names_the_base_path(connections, tmp_path):
    connections["here"] = {"base_path": str(tmp_path / "root")}

    assert AirExecutorHook("here").get_client().base_path == tmp_path / "root"


def test_default_connection_need_not_exist(connections, tmp_path, monkeypatch):
    monkeypatch.setenv("AIR_EXECUTOR_BASE_PATH", str(tmp_path / "found"))

    assert AirExecutorHook().get_client().base_path == tmp_path / "found"


def test_connection_without_a_base_path_leads_to_the_same(connections, tmp_path, monkeypatch):
    monkeypatch.setenv("AIR_EXECUTOR_BASE_PATH", str(tmp_path / "found"))
    connections["air_executor_default"] = {"base_path": "", "slots": None}

    assert AirExecutorHook().get_client().base_path == tmp_path / "found"


def test_other_connections_must_exist(connections):
    with pytest.raises(AirflowNotFoundException, match="add one of type Air-Executor"):
        AirExecutorHook("elsewhere").get_client()


def test_triggers_find_the_same_client(connections, tmp_path):
    import asyncio

    connections["here"] = {"base_path": str(tmp_path / "root")}

    assert asyncio.run(AirExecutorHook("here").aget_client()).base_path == tmp_path / "root"


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("{", "no JSON"),
        ("[]", "JSON object"),
        ({"base_path": 3}, "base_path"),
        ({"start_manager": "yes"}, "start_manager"),
        ({"slots": 0}, "slots"),
        ({"slots": "many"}, "slots"),
        ({"slots": True}, "slots"),
    ],
)
def test_bad_fields_are_named_with_their_connection(connections, extra, words):
    connections["here"] = extra

    with pytest.raises(ConfigurationError, match=f"connection here: .*{words}"):
        AirExecutorHook("here").get_client()


def test_absent_manager_is_an_error_with_the_remedy(connections, tmp_path, monkeypatch):
    connections["here"] = {"base_path": str(tmp_path / "root")}
    monkeypatch.setattr(hook_module, "_MANAGER_WAIT_S", 0.0)

    with pytest.raises(ManagerNotRunningError, match=r"manager start.*start_manager"):
        AirExecutorHook("here").need_manager()


def test_manager_is_started_where_the_connection_says_so(connections, tmp_path, monkeypatch):
    connections["here"] = {"base_path": str(tmp_path / "root"), "start_manager": True, "slots": 3}
    hook, started = AirExecutorHook("here"), []
    monkeypatch.setattr(hook.get_client(), "start_manager", lambda **options: started.append(options))

    hook.need_manager()

    assert started == [{"slots": 3}]


def test_connection_test_tells_what_is_missing(connections, tmp_path):
    (tmp_path / "file").touch()
    connections.update(file={"base_path": str(tmp_path / "file")}, root={"base_path": str(tmp_path / "root")})

    for conn_id, words in (
        ("file", "cannot be used as base path"),
        ("root", "no manager runs"),
        ("absent", "no connection absent"),
    ):
        works, message = AirExecutorHook(conn_id).test_connection()
        assert not works
        assert words in message


def test_commands_start_with_what_the_task_started_with(connections, tmp_path, monkeypatch):
    connections["here"] = {"base_path": str(tmp_path / "root")}
    monkeypatch.setenv("FOR_COMMANDS", "yes")
    monkeypatch.setenv("AIR_EXECUTOR_TASK", "airflow-task")
    hook = AirExecutorHook("here")

    digest = hook.save_environment()

    saved = json.loads((tmp_path / "root" / "environments" / f"{digest}.json").read_text())
    assert saved["variables"]["FOR_COMMANDS"] == "yes"
    assert "AIR_EXECUTOR_TASK" not in saved["variables"]
    monkeypatch.setenv("AIR_EXECUTOR_TASK", "another")
    assert hook.save_environment() == digest


def test_provider_description_names_what_exists():
    import importlib

    info = get_provider_info()
    (connection,) = info["connection-types"]
    paths = [
        connection["hook-class-name"],
        *info["extra-links"],
        *(each["class-name"] for each in info["task-decorators"]),
    ]
    for path in paths:
        module, _, name = path.rpartition(".")
        assert hasattr(importlib.import_module(module), name)
    assert connection["connection-type"] == AirExecutorHook.conn_type
    assert connection["hook-name"] == AirExecutorHook.hook_name
    for kind in ("operators", "sensors", "hooks", "triggers"):
        for module in info[kind][0]["python-modules"]:
            importlib.import_module(module)
