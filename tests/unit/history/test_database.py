"""Opening a history: addresses, modes, schemas; no message holds a password."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from pathlib import Path

import pytest
import sqlalchemy as sa

from air_executor.config import AIRFLOW_VARIABLE, HISTORY_AIRFLOW_VARIABLE, HISTORY_VARIABLE
from air_executor.errors import HistoryError, HistoryNotInstalledError
from air_executor.history import location, schema, tables
from air_executor.history.database import Database
from air_executor.history.location import find_history_url, need_packages
from air_executor.history.queries import History
from air_executor.store.root import Root
from tests.support.history import read_table
from tests.support.processes import at_once

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "v1" / "history.db"
SECRET = "sesame"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (f"postgresql://me:{SECRET}@host:pört/db", "not valid"),
        (f"no url {SECRET}", "not valid"),
        (f"postgresql://me:{SECRET}@@host/db", "%40"),
        (f"postgresql://me:{SECRET}@{SECRET}@host/db", "%40"),
        (f"mysql://me:{SECRET}@host/db", "mysql"),
        (f"postgresql://me:{SECRET}@127.0.0.1:1/db", "Connection refused"),
        ("sqlite://", "names no file"),
        ("sqlite:////nowhere/at/all/history.db", "cannot be made"),
    ],
)
def test_what_is_wrong_with_an_address_is_told_without_its_password(root: Root, url: str, message: str) -> None:
    with pytest.raises(HistoryError, match=message) as caught:
        schema.upgrade(Database(root, url))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("name", ["postgres", "postgresql", "postgresql+psycopg2", "postgresql+asyncpg"])
def test_any_name_of_postgresql_finds_a_driver(root: Root, name: str) -> None:
    assert Database(root, f"{name}://me:{SECRET}@host/db").shown == "postgresql+psycopg2://me:***@host/db"


def test_the_file_is_for_its_owner_alone(root: Root) -> None:
    before = os.umask(0)
    try:
        database = Database(root, None)
        schema.upgrade(database)
        found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in root.path.glob("history.db*")}
    finally:
        os.umask(before)
    assert set(found.values()) == {0o600}
    assert "history.db-wal" in found
    database.close()


def test_a_damaged_file_is_told(root: Root) -> None:
    root.history_database.write_bytes(b"rubbish" * 1000)
    with pytest.raises(HistoryError, match="not a database"):
        schema.upgrade(Database(root, None))


def test_the_tables_are_what_the_migrations_make(database: Database) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext

    with database.begin() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": schema.VERSION_TABLE})
        assert compare_metadata(context, tables.metadata) == []


def test_the_newest_schema_is_that_of_the_newest_migration() -> None:
    files = sorted((Path(schema.__file__).parent / "migrations" / "versions").glob("0*.py"))
    assert files[-1].name.startswith(schema.HEAD)
    assert {file.name[:4] for file in files} == schema._KNOWN


def test_many_may_make_the_tables_at_once(tmp_path: Path, url: str | None) -> None:
    root = Root.open(tmp_path / "root")

    def upgrade(_: int) -> str:
        database = Database(root, url)
        schema.upgrade(database)
        schema.check(database)
        database.close()
        return "done"

    assert at_once(6, upgrade) == ["done"] * 6


def test_a_newer_schema_is_refused_by_writer_and_reader(
    root: Root, url: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(root, url)
    schema.upgrade(database)
    with database.begin() as connection:
        connection.execute(sa.text(f"UPDATE {schema.VERSION_TABLE} SET version_num = '9999'"))
    for call in (schema.upgrade, schema.check):
        with pytest.raises(HistoryError, match=r"newer than .* upgrade air-executor"):
            call(database)
    database.close()


def test_a_history_of_the_first_release_is_brought_to_the_newest_schema(root: Root) -> None:
    shutil.copy(GOLDEN, root.history_database)
    database = Database(root, None)
    schema.upgrade(database)
    schema.check(database)
    states = {row["job_name"]: row["state"] for row in read_table(database, tables.jobs)}
    assert states == {"good": "completed", "bad": "failed"}
    assert len(read_table(database, tables.attempts)) == 4
    database.close()


def test_a_history_that_does_not_exist_is_not_made_by_looking(root: Root) -> None:
    with pytest.raises(HistoryError, match="nothing is recorded"):
        History(root)
    assert not root.history_database.exists()


def test_a_database_without_tables_is_no_history(root: Root) -> None:
    sqlite3.connect(root.history_database).close()
    with pytest.raises(HistoryError, match="holds no history"):
        History(root)


def test_the_address_comes_from_the_first_that_names_one(
    root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    for name in (HISTORY_VARIABLE, HISTORY_AIRFLOW_VARIABLE, AIRFLOW_VARIABLE, "AIRFLOW_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    assert find_history_url(root) is None
    (tmp_path / "airflow.cfg").write_text("[air_executor]\nhistory_url = sqlite:////cfg\n")
    assert find_history_url(root) == "sqlite:////cfg"
    monkeypatch.setenv(HISTORY_AIRFLOW_VARIABLE, "sqlite:////airflow")
    assert find_history_url(root) == "sqlite:////airflow"
    (root.path / "settings.json").write_text('{"history_url": "sqlite:////settings"}')
    assert find_history_url(root) == "sqlite:////settings"
    monkeypatch.setenv(HISTORY_VARIABLE, "sqlite:////variable")
    assert find_history_url(root) == "sqlite:////variable"


def test_a_missing_extra_is_told_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(location, "find_spec", lambda name: None)
    with pytest.raises(HistoryNotInstalledError, match=r"pip install 'air-executor\[history\]'"):
        need_packages()
