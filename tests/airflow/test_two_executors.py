"""Air-Executor beside LocalExecutor in one scheduler, and Airflow's own example DAGs under each of the two.

One Airflow for this module: its scheduler is started with LocalExecutor as the default first, then with Air-Executor.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
from pathlib import Path

import pytest

from tests.airflow.conftest import CONFIG, EXECUTOR, HERE
from tests.support.airflow_site import AIR_EXECUTOR, AirflowSite
from tests.support.postgres import PostgresServer, find_server_programs

pytestmark = [
    pytest.mark.skipif(EXECUTOR != AIR_EXECUTOR, reason="needs both executors"),
    pytest.mark.timeout(420),
]

LOCAL_FIRST = f"LocalExecutor,air:{AIR_EXECUTOR}"
AIR_FIRST = f"air:{AIR_EXECUTOR},LocalExecutor"

EXAMPLES = [
    # Left out: what needs a network or further packages (virtual environments, HTTP, Kubernetes, object storage), a
    # person (hitl), other DAGs' runs at the right time (assets, external task), or minutes (sensors, retry delays).
    "example_bash_operator",
    "example_branch_labels",
    "example_complex",
    "example_custom_weight",
    "example_display_name",
    "example_dynamic_task_mapping",
    "example_dynamic_task_mapping_with_no_taskflow_operators",
    "example_failed_dag",
    "example_nested_branch_dag",
    "example_setup_teardown",
    "example_setup_teardown_taskflow",
    "example_short_circuit_operator",
    "example_simplest_dag",
    "example_skip_dag",
    "example_task_group",
    "example_trigger_target_dag",
    "example_xcom",
    "example_xcom_args",
    "tutorial_taskflow_api",
]

_FILES = {"example_xcom_args": "example_xcomargs"}
"""Those that do not have the name of their DAG."""


def copy_examples(dags, plugins):
    """Fill the folders of a site with these examples alone: to parse all that Airflow has takes a minute."""
    import airflow.example_dags
    import airflow.providers.standard.example_dags

    homes = [Path(package.__path__[0]) for package in (airflow.example_dags, airflow.providers.standard.example_dags)]
    for dag in EXAMPLES:
        name = f"{_FILES.get(dag, dag)}.py"
        shutil.copy(next(path for home in homes if (path := home / name).exists()), dags)
    shutil.copytree(HERE / "plugins", plugins)
    module = "airflow.example_dags.plugins.decreasing_priority_weight_strategy"
    (plugins / "of_example_custom_weight.py").write_text(
        f"from {module} import DecreasingPriorityWeightStrategyPlugin\n"
    )


def run_all(site):
    """Run every example, a few at a time, and return the states of their task instances."""
    seen = {}
    waiting, running = list(EXAMPLES), {}
    while waiting or running:
        while waiting and len(running) < 8:
            dag = waiting.pop(0)
            running[dag] = site.api.trigger(dag)
        dag, run = next(iter(running.items()))
        outcome = site.api.wait_for_run(dag, run, timeout_s=180)
        seen[dag] = (outcome, site.api.states(dag, run))
        del running[dag]
    return seen


def run_two_executors(site):
    """Run the DAG with a task for each executor; return by task whether Air-Executor ran it."""
    run = site.api.trigger("two_executors")
    site.api.wait_for_success("two_executors", run)
    tasks = ("by_air", "by_local", "by_default")
    return {task: "attempt mark: airflow-" in site.api.log("two_executors", run, task) for task in tasks}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory, database_template):
    """What happened with LocalExecutor as the default, and with Air-Executor as the default."""
    seen = {}
    directory = tmp_path_factory.mktemp("two")
    dags, plugins = directory / "dags", directory / "plugins"
    dags.mkdir()
    copy_examples(dags, plugins)
    shutil.copy(HERE / "dags" / "two_executors.py", dags)
    with contextlib.ExitStack() as stack:
        # Where there is a choice: SQLite has one writer at a time, and so many DAGs at once keep it waiting.
        url = None
        if find_server_programs() is not None:
            url = stack.enter_context(PostgresServer({"fsync": "off"})).create("airflow")
        site = AirflowSite(
            directory,
            executor=LOCAL_FIRST,
            dags_folder=dags,
            database_url=url,
            database_template=database_template,
            config={
                **CONFIG,
                "core": {**CONFIG["core"], "plugins_folder": str(plugins)},
                "dag_processor": {"min_file_process_interval": "3600", "parsing_processes": "2"},
            },
            environment={"AIR_TEST_LEDGER": "/dev/null", "AIR_TEST_RELEASE": "/nonexistent"},
        )
        stack.enter_context(site)
        site.api.wait_for_dags([*EXAMPLES, "two_executors"], timeout_s=180)
        for order in (LOCAL_FIRST, AIR_FIRST):
            if order != site.executor:
                site.end("scheduler", signal.SIGTERM)
                site.use_executor(order)
                site.start("scheduler")
                site.wait_until_healthy()
            seen[order] = (run_all(site), run_two_executors(site))
        yield seen


@pytest.mark.parametrize(("order", "by_default"), [(LOCAL_FIRST, False), (AIR_FIRST, True)])
def test_each_task_runs_under_the_executor_it_names(outcomes, order, by_default):
    _, ran_under_air = outcomes[order]

    assert ran_under_air == {"by_air": True, "by_local": False, "by_default": by_default}


@pytest.mark.parametrize("dag", EXAMPLES)
def test_example_ends_as_under_local_executor(outcomes, dag):
    under_local, under_air = outcomes[LOCAL_FIRST][0][dag], outcomes[AIR_FIRST][0][dag]

    assert under_air == under_local
    assert under_local[0] == ("failed" if dag == "example_failed_dag" else "success")
