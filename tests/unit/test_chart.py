"""Progress charts: what is drawn of jobs of every state, and where it is written."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

pytest.importorskip("matplotlib", reason="the extra `plot` is not installed")

from matplotlib.figure import Figure

from air_executor import chart
from air_executor.chart import draw_chart, save_chart
from air_executor.client import AirExecutorClient
from air_executor.core.states import JobState, TaskStatus
from air_executor.errors import ChartError, JobNotFoundError
from air_executor.store.records import StateRecord, TaskRecord
from air_executor.store.root import Root
from tests.support.jobs import T0, at


def job(state: JobState, name: str = "job") -> StateRecord:
    return StateRecord(id="id", name=name, state=state, created_at=T0, updated_at=at(30))


def record(number: int, status: TaskStatus, started: float | None = None, ended: float | None = None) -> TaskRecord:
    return TaskRecord(
        id=f"t{number}",
        command="true",
        args=(),
        dependencies=(),
        job_name="job",
        status=status,
        created_at=T0,
        started_at=None if started is None else at(started),
        completed_at=None if ended is None else at(ended),
        error=None,
    )


def put(root: Root, state: StateRecord, tasks: Sequence[TaskRecord], *, directory: Path | None = None) -> None:
    path = (directory or root.jobs) / state.name
    path.mkdir()
    (path / "state.json").write_bytes(msgspec.json.encode(state))
    (path / "tasks.json").write_bytes(msgspec.json.encode(tasks))


MIXED = [
    record(1, TaskStatus.COMPLETED, 1, 5),
    record(2, TaskStatus.FAILED, 1, 7),
    record(3, TaskStatus.SKIPPED, None, 7),
    record(4, TaskStatus.RUNNING, 8),
    record(5, TaskStatus.PENDING),
]


@pytest.fixture
def client(tmp_path: Path) -> AirExecutorClient:
    root = Root.open(tmp_path / "root")
    put(root, job(JobState.WORKING, "mixed"), MIXED)
    put(root, job(JobState.COMPLETED, "archived"), [MIXED[0]], directory=root.archive)
    put(root, job(JobState.WAITING, "empty"), [])
    return AirExecutorClient(root.path)


def words(figure: Figure) -> str:
    texts = [*figure.texts, *(text for axes in figure.axes for text in axes.texts)]
    legends = [axes.get_legend() for axes in figure.axes]
    texts += [text for legend in legends if legend for text in legend.get_texts()]
    return " | ".join(text.get_text() for text in texts)


def lines(figure: Figure) -> dict[str, list[float]]:
    return {str(line.get_label()): [float(y) for y in line.get_ydata()] for line in figure.axes[0].lines}


def test_a_running_job_is_drawn_until_now_with_all_that_happened() -> None:
    figure = draw_chart(job(JobState.WORKING), MIXED, at(60))
    text = words(figure)
    assert "Air-Executor Progress: job" in text
    assert "working | " in text
    assert "1 of 5 tasks completed  ·  1 failed  ·  1 not run  ·  1 running  ·  1m 00s" in text
    assert "now" in text
    drawn = lines(figure)
    assert drawn["Total (may grow)"][-1] == 5
    assert drawn["Completed"][-1] == 1
    # Stacked, so that the uppermost line says how many have ended.
    assert (drawn["Failed"][-1], drawn["Not run"][-1]) == (2, 3)
    assert len(drawn["A failure"]) == 1


def test_a_job_that_is_over_is_drawn_until_its_end() -> None:
    done = [record(n, TaskStatus.COMPLETED, n, n + 1) for n in range(20)]
    figure = draw_chart(job(JobState.COMPLETED), done, at(10_000))
    assert "20 of 20 tasks completed  ·  30s  ·  40.0 tasks/min" in words(figure)
    assert "now" not in words(figure)
    assert lines(figure).keys() == {"Completed", "Total"}


@pytest.mark.parametrize(
    "tasks",
    [
        [],
        [record(1, TaskStatus.PENDING)],
        [record(1, TaskStatus.COMPLETED, 0, 0)],
        [record(1, TaskStatus.CANCELLED, None, 1)],
        [record(1, TaskStatus.FAILED, None, None)],
    ],
    ids=["empty", "waiting", "instantaneous", "cancelled", "without instants"],
)
@pytest.mark.parametrize("state", list(JobState))
def test_jobs_of_few_tasks_can_be_drawn_in_every_state(
    tasks: list[TaskRecord], state: JobState, tmp_path: Path
) -> None:
    root = Root.open(tmp_path / "root")
    put(root, job(state), tasks)
    assert save_chart(AirExecutorClient(root.path), "job", tmp_path / "chart.svg").stat().st_size > 1000


def test_very_many_tasks_give_a_readable_file_of_a_bounded_size(tmp_path: Path) -> None:
    tasks = [
        record(n, TaskStatus.FAILED if n % 3 == 0 else TaskStatus.COMPLETED, n / 1000, n / 1000 + 0.3)
        for n in range(12_000)
    ]
    figure = draw_chart(job(JobState.FAILED), tasks, at(60))
    assert "8,000 of 12,000 tasks completed  ·  4,000 failed" in words(figure)
    assert lines(figure)["Completed"][-1] == 8000
    assert len(lines(figure)["A failure"]) <= 400
    root = Root.open(tmp_path / "root")
    put(root, job(JobState.FAILED), tasks)
    path = save_chart(AirExecutorClient(root.path), "job", tmp_path / "chart.svg")
    assert path.stat().st_size < 600_000


def test_a_long_name_and_one_that_looks_like_a_formula_fit() -> None:
    name = "a" * 100 + "_x^2_" + "b" * 95
    title = draw_chart(job(JobState.WAITING, name), [], at(1)).texts[0]
    assert len(title.get_text()) < 95
    assert title.get_text().endswith("bbb")
    assert title.get_parse_math() is False


def test_png_and_svg_are_what_they_say(client: AirExecutorClient, tmp_path: Path) -> None:
    png = save_chart(client, "mixed", tmp_path / "chart.png")
    assert png.read_bytes().startswith(b"\x89PNG\r\n")
    svg = save_chart(client, "mixed", tmp_path / "chart.SVG")
    drawing = ET.parse(svg).getroot()
    texts = ["".join(each.itertext()) for each in drawing.iter("{http://www.w3.org/2000/svg}text")]
    assert "Air-Executor Progress: mixed" in texts
    assert sorted(path.name for path in tmp_path.iterdir()) == ["chart.SVG", "chart.png", "root"]


def test_archived_and_empty_jobs_have_charts(client: AirExecutorClient, tmp_path: Path) -> None:
    save_chart(client, "archived", tmp_path / "a.svg")
    assert "no tasks yet" in save_chart(client, "empty", tmp_path / "b.svg").read_text()


def test_the_file_has_a_name_by_default_and_replaces_an_older_one(
    client: AirExecutorClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mixed-progress.png").write_text("old")
    path = save_chart(client, "mixed")
    assert path == tmp_path / "mixed-progress.png"
    assert path.stat().st_size > 10_000


@pytest.mark.parametrize("name", ["chart.jpg", "chart", "tasks.json", ".png/x"])
def test_another_format_is_refused_before_anything_is_drawn(
    client: AirExecutorClient, tmp_path: Path, name: str
) -> None:
    with pytest.raises(ChartError, match=r"\.png or \.svg"):
        save_chart(client, "no-such-job", tmp_path / name)


def test_what_stands_there_stays_when_the_new_one_cannot_be_written(
    client: AirExecutorClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "chart.png"
    old.write_text("old")

    def fail(*_: Any) -> Figure:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(chart, "draw_chart", fail)
    with pytest.raises(OSError, match="No space left"):
        save_chart(client, "mixed", old)
    assert old.read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == ["chart.png", "root"]


def test_a_missing_job_and_a_missing_directory_are_told(client: AirExecutorClient, tmp_path: Path) -> None:
    with pytest.raises(JobNotFoundError):
        save_chart(client, "no-such-job", tmp_path / "chart.png")
    with pytest.raises(FileNotFoundError):
        save_chart(client, "mixed", tmp_path / "no-such-directory" / "chart.png")


def test_a_missing_matplotlib_is_told_with_the_remedy(
    client: AirExecutorClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ChartError, match=r"air-executor\[plot\]"):
        save_chart(client, "mixed", tmp_path / "chart.png")


def test_drawing_leaves_no_trace_in_matplotlib(client: AirExecutorClient, tmp_path: Path) -> None:
    code = (
        "import sys, matplotlib; from air_executor.client import AirExecutorClient; from air_executor import chart\n"
        "look = lambda: {name: str(matplotlib.rcParams[name]) for name in matplotlib.rcParams if name != 'backend'}\n"
        "before = look()\n"
        "chart.save_chart(AirExecutorClient(sys.argv[1]), 'mixed', sys.argv[2])\n"
        "assert look() == before\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code, client.base_path, tmp_path / "chart.png"], check=True)


def test_importing_the_module_imports_no_matplotlib() -> None:
    code = "import sys, air_executor.chart; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_instant_of_another_zone_is_drawn_in_utc() -> None:
    started = datetime.fromisoformat("2025-10-02T09:30:00+02:00")
    task = msgspec.structs.replace(record(1, TaskStatus.RUNNING, 0), created_at=started)
    assert draw_chart(job(JobState.WORKING), [task], at(60)).axes[1].get_xlabel() == "Time (UTC), 2025-10-02"
