"""The code, docs/metrics.md and the Grafana dashboard name the same metrics."""

from __future__ import annotations

import ast
import json
import re
import selectors
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("prometheus_client", reason="the extra `metrics` is not installed")

from air_executor.core.planning import Planner
from air_executor.manager.board import Board
from air_executor.manager.metrics import make_registry
from air_executor.manager.settings import ManagerSettings
from air_executor.manager.supervision import Supervision
from air_executor.store.root import Root

PROJECT = Path(__file__).resolve().parents[2]
DASHBOARD = PROJECT / "docs" / "grafana" / "air-executor.json"
PROMQL_WORDS = {"by", "sum", "count", "max", "rate", "increase", "histogram_quantile", "le"}


@pytest.fixture
def exported(tmp_path: Path) -> dict[str, set[str]]:
    """Labels of each metric of the endpoint, by name."""
    root, settings, planner = Root.open(tmp_path / "root"), ManagerSettings(), Planner(1)
    with selectors.DefaultSelector() as selector:
        board = Board(root, planner, settings)
        supervision = Supervision(root, board, planner, selector, settings)
        families = list(make_registry(board, planner, supervision).collect())
    names: dict[str, set[str]] = {}
    for family in families:
        name = f"{family.name}_total" if family.type == "counter" else family.name
        names[name] = {label for sample in family.samples for label in sample.labels} - {"le"}
    return names


def documented(prefix: str) -> dict[str, set[str]]:
    """Labels of each metric in the tables of docs/metrics.md, by name."""
    rows = re.findall(
        rf"^\| `({re.escape(prefix)}[^`]*)` \|[^|]*\|([^|]*)\|", (PROJECT / "docs/metrics.md").read_text(), re.M
    )
    return {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}


def reported_by_airflow() -> set[str]:
    """Return the names in calls of `compat` that report a metric, with `*` for what is computed."""
    names = set()
    for path in (PROJECT / "air_executor" / "airflow").glob("*.py"):
        for call in (each for each in ast.walk(ast.parse(path.read_text())) if isinstance(each, ast.Call)):
            verb = call.func.attr if isinstance(call.func, ast.Attribute) else ""
            if verb in ("set_gauge", "count", "record_time", "set_task_gauge") and call.args:
                names.add(_text(call.args[0]))
    return {name for name in names if name.startswith("air_executor.")}


def _text(argument: ast.expr) -> str:
    if isinstance(argument, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in argument.values)
    return str(argument.value) if isinstance(argument, ast.Constant) else ""


def panels() -> Iterator[dict[str, Any]]:
    yield from json.loads(DASHBOARD.read_text())["panels"]


def expressions() -> list[str]:
    return [target["expr"] for panel in panels() for target in panel.get("targets", ())]


def metric_names(expression: str) -> set[str]:
    """Return the metrics in PromQL: words that are neither functions nor inside braces, brackets or `by (...)`."""
    bare = re.sub(r"\{[^}]*\}|\[[^]]*\]|\bby \([^)]*\)", "", expression)
    return set(re.findall(r"[a-z_]{2,}", bare)) - PROMQL_WORDS


def test_every_metric_of_the_endpoint_is_documented_with_its_labels(exported: dict[str, set[str]]) -> None:
    assert documented("air_executor_") == exported


def test_every_metric_that_airflow_gets_is_documented() -> None:
    names = reported_by_airflow()
    assert len(names) > 10
    patterns = [re.compile(re.escape(name).replace(r"\*", r"\w+")) for name in names]
    docs = documented("air_executor.")
    assert [name for name in docs if not any(pattern.fullmatch(name) for pattern in patterns)] == []
    assert [p.pattern for p in patterns if not any(p.fullmatch(name) for name in docs)] == []


def test_the_dashboard_asks_for_what_is_there_and_for_all_that_is_there(exported: dict[str, set[str]]) -> None:
    asked = set().union(*map(metric_names, expressions()))
    own = {re.sub(r"_bucket$", "", name) for name in asked if name.startswith("air_executor_")}
    assert own - exported.keys() == set()
    left_out = {"virtual_memory_bytes", "start_time_seconds"}
    assert exported.keys() - own == {f"air_executor_manager_process_{name}" for name in left_out}


def test_the_dashboard_asks_airflow_for_what_is_reported() -> None:
    mapped = {}
    for name in documented("air_executor."):
        is_time = name.rpartition(".")[2] in ("dispatch_duration", "queue_to_start", "run_duration")
        mapped[f"airflow_{name.replace('.', '_')}{'_seconds_bucket' if is_time else ''}"] = name
    asked = set().union(*map(metric_names, expressions()))
    foreign = {name for name in asked if name.startswith("airflow_")}
    assert foreign - mapped.keys() == set()
    missing = {mapped[name] for name in mapped.keys() - foreign}
    assert {name for name in missing if not name.startswith("air_executor.job.")} == set()
    assert all(name.startswith(("airflow_air_executor_", "air_executor_")) for name in asked), asked


def test_the_mapping_of_statsd_exporter_covers_all_times() -> None:
    text = (PROJECT / "docs" / "grafana" / "statsd-exporter.yml").read_text()
    match = re.search(r"match: '(.+)'", text)
    assert match is not None
    times = [
        name
        for name in documented("air_executor.")
        if re.search(rf"`{re.escape(name)}` \| timer", (PROJECT / "docs/metrics.md").read_text())
    ]
    assert len(times) == 3
    assert all(re.fullmatch(match[1], f"airflow.{name}") for name in times)


def test_labels_in_the_dashboard_exist(exported: dict[str, set[str]]) -> None:
    for expression in expressions():
        known = set().union(*(exported.get(re.sub(r"_bucket$", "", each), set()) for each in metric_names(expression)))
        known |= {"le", "instance", "verdict", "outcome", "dag_id", "task_id", "job_name"}
        used = {
            label.strip() for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.split(",")
        } | set(re.findall(r"(\w+)(?:=|!=|=~|!~)\"", expression))
        assert used <= known, expression


def test_the_dashboard_can_be_imported() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    assert dashboard["id"] is None
    assert [variable["name"] for variable in dashboard["templating"]["list"]] == ["datasource", "instance"]
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    for panel in dashboard["panels"]:
        assert panel["title"]
        place = panel["gridPos"]
        assert 0 <= place["x"] <= place["x"] + place["w"] <= 24
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel.get("targets", ()))
    for one, other in combinations([panel["gridPos"] for panel in dashboard["panels"]], 2):
        is_beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        is_above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert is_beside or is_above, (one, other)
