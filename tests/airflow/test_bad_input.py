"""What cannot work fails with a cause that a person finds where they look for it, and nothing stays queued."""

from __future__ import annotations

import signal

import pytest

from tests.airflow.conftest import CONFIG, HERE
from tests.support.airflow_site import AIR_EXECUTOR, AirflowSite
from tests.support.waiting import wait_until


def test_missing_dag_file_fails_the_task_and_says_so(stage):
    run = stage.api.trigger("vanishing")
    stage.ledger.wait_for("vanishing", run, "start", 1)
    # The DAG processor would retire the DAG, and no task of it would be started at all.
    stage.site.end("dag-processor", signal.SIGTERM)
    path = stage.site.dags_folder / "vanishing.py"
    text = path.read_text()
    path.unlink()
    try:
        stage.release(run)
        instance = stage.api.wait_for_task("vanishing", run, "after")
    finally:
        path.write_text(text)
        stage.site.start("dag-processor")

    assert instance["state"] == "failed"
    assert "vanishing" in stage.api.log("vanishing", run, "after")
    assert stage.ledger.counts("vanishing", run, "start") == {"before": 1}


@pytest.mark.only_air
def test_root_that_others_can_write_to_is_refused_with_the_remedy(tmp_path, database_template, stage):
    root = tmp_path / "root"
    root.mkdir(mode=0o777)
    root.chmod(0o777)
    site = AirflowSite(
        tmp_path,
        executor=AIR_EXECUTOR,
        dags_folder=HERE / "dags",
        database_template=database_template,
        config=CONFIG,
        base_path=root,
    )
    try:
        site.prepare()
        site.start("scheduler")
        wait_until(
            lambda: site.log_text("scheduler"),
            lambda seen: str(root) in seen and "chmod" in seen,
            timeout_s=60,
            interval_s=0.2,
            what="the scheduler to name the root and the remedy",
        )
    finally:
        site.stop()
    assert list(root.iterdir()) == []
