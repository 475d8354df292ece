"""Airflow's way to Air-Executor: a connection of type `air_executor`, or none at all, leads to a base path and its client."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

from air_executor.airflow.sdk_compat import AirflowNotFoundException
from air_executor.errors import AirExecutorError, ConfigurationError, ManagerNotRunningError

if TYPE_CHECKING:
    from air_executor.client import AirExecutorClient

DEFAULT_CONN_ID = "air_executor_default"
_MANAGER_WAIT_S = 10.0
"""A manager that is being restarted is back sooner."""
_PAUSE_S = 0.1


class AirExecutorHook(BaseHook):
    """Finds base path and client of a connection.

    The default connection need not exist: then the base path is found as the executor and `air-executor` find it.
    """

    conn_name_attr = "conn_id"
    default_conn_name = DEFAULT_CONN_ID
    conn_type = "air_executor"
    hook_name = "Air-Executor"

    def __init__(self, conn_id: str = DEFAULT_CONN_ID, **kwargs: Any) -> None:
        """Prepare; nothing is read yet."""
        super().__init__(**kwargs)
        self.conn_id = conn_id
        self._settings: Mapping[str, Any] | None = None
        self._client: AirExecutorClient | None = None

    def get_conn(self) -> AirExecutorClient:
        """Do as `get_client`; Airflow's name for it."""
        return self.get_client()

    def get_client(self) -> AirExecutorClient:
        """Return the client of the connection's base path.

        :raises AirflowNotFoundException: there is no such connection, and it is not the default one.
        :raises ConfigurationError: its extra fields have values that they cannot have.
        :raises RootError: the base path cannot be used; the message says why.
        """
        if self._settings is None:
            try:
                connection = self.get_connection(self.conn_id)
            except AirflowNotFoundException:
                self._need_no_connection()
            else:
                self._settings = _read_settings(connection, self.conn_id)
        return self._open()

    async def aget_client(self) -> AirExecutorClient:
        """Do as `get_client` in a trigger."""
        if self._settings is None:
            try:
                connection = await self.aget_connection(self.conn_id)
            except AirflowNotFoundException:
                self._need_no_connection()
            else:
                self._settings = _read_settings(connection, self.conn_id)
        return self._open()

    def need_manager(self) -> None:
        """See to it that a manager runs: wait a moment for one, or start it where the connection says so.

        :raises ManagerNotRunningError: none runs; the message says how to start one.
        :raises RootError: it did not start.
        """
        client = self.get_client()
        settings = self._settings or {}
        if settings.get("start_manager"):
            slots = settings.get("slots")
            client.start_manager(**({"slots": int(slots)} if slots else {}))
        elif not _comes_up(client):
            raise ManagerNotRunningError(
                f"no manager runs on {client.base_path}, so nothing would be done: start one with "
                f"`air-executor --base-path {client.base_path} manager start`, or let the connection {self.conn_id} start it "
                '(extra field "start_manager": true)'
            )

    def save_environment(self) -> str:
        """Keep interpreter, variables and working directory of this process for the tasks of a job; return their digest.

        :raises OSError: it could not be written.
        """
        from air_executor.airflow.environment_snapshot import take_command_snapshot

        snapshot = take_command_snapshot()
        return self.get_client().save_environment(snapshot.python, snapshot.variables, snapshot.cwd)

    def test_connection(self) -> tuple[bool, str]:
        """Tell whether the base path can be used and a manager runs on it; the web UI shows the message."""
        try:
            client = self.get_client()
            status = client.manager_status()
        except (AirExecutorError, AirflowNotFoundException, OSError) as error:
            return False, str(error)
        if status is None:
            return False, f"{client.base_path} can be used, but no manager runs on it: `air-executor manager start`"
        return True, f"A manager (pid {status.pid}) runs on {client.base_path}"

    def _need_no_connection(self) -> None:
        if self.conn_id != DEFAULT_CONN_ID:
            raise AirflowNotFoundException(
                f"There is no connection {self.conn_id}: add one of type Air-Executor, or leave conn_id out"
            )
        self._settings = {}

    def _open(self) -> AirExecutorClient:
        if self._client is None:
            from air_executor.client import AirExecutorClient

            self._client = AirExecutorClient((self._settings or {}).get("base_path") or None)
        return self._client


def _comes_up(client: AirExecutorClient) -> bool:
    until = time.monotonic() + _MANAGER_WAIT_S
    while not client.manager_is_running():
        if time.monotonic() >= until:
            return False
        time.sleep(_PAUSE_S)
    return True


def _read_settings(connection: Any, conn_id: str) -> Mapping[str, Any]:
    """Return the extra fields of a connection that have a value.

    :raises ConfigurationError: the extra is no JSON object, or a field has another type.
    """
    text = connection.extra or "{}"
    try:
        extra = json.loads(text)
    except ValueError:
        raise ConfigurationError(f"connection {conn_id}: extra is no JSON") from None
    if not isinstance(extra, dict):
        raise ConfigurationError(f"connection {conn_id}: extra must be a JSON object")
    settings = {name: value for name, value in extra.items() if value not in (None, "")}
    if not isinstance(settings.get("base_path", ""), str | os.PathLike):
        raise ConfigurationError(f"connection {conn_id}: base_path must be a path")
    if not isinstance(settings.get("start_manager", False), bool):
        raise ConfigurationError(f"connection {conn_id}: start_manager must be true or false")
    slots = settings.get("slots")
    if slots is not None and (isinstance(slots, bool) or not isinstance(slots, int) or slots < 1):
        raise ConfigurationError(f"connection {conn_id}: slots must be a whole number above 0")
    return settings
