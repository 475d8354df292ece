from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from air_executor.airflow import job_names
from air_executor.core.names import check_job_name

texts = st.text(min_size=1, max_size=400)
tries = st.integers(min_value=0, max_value=10_000)
map_indexes = st.integers(min_value=-1, max_value=1_000_000)


def make_prefix(dag="sales", task="extract", run="manual__2025-10-02T07:30:00+00:00", index=-1, number=1, ti=None):
    return job_names.make_task_prefix(dag, task, run, index, number, ti or str(uuid.UUID(int=7)))


@given(texts, texts, texts, map_indexes, tries, st.uuids())
def test_any_ids_give_an_allowed_name(dag_id, task_id, run_id, map_index, try_number, ti_id):
    prefix = job_names.make_task_prefix(dag_id, task_id, run_id, map_index, try_number, str(ti_id))
    name = job_names.make_unique(prefix)
    assert check_job_name(name) == name
    assert job_names.split_name(name)[0] == prefix


@given(texts, texts, texts, map_indexes, tries, st.uuids(), st.uuids())
def test_task_instances_are_told_apart_however_their_ids_are_cut(dag, task, run, index, number, one, other):
    first = job_names.make_task_prefix(dag, task, run, index, number, str(one))
    second = job_names.make_task_prefix(dag, task, run, index, number, str(other))
    assert (first == second) == (one.hex[-12:] == other.hex[-12:])


def test_a_name_can_be_read_by_people():
    name = job_names.make_unique(make_prefix(index=3, number=2))
    assert name.startswith("airflow-sales-extract-manual__2025-10-02T07:30:00+00:00-map3-try2-000000000007-")


def test_long_ids_leave_something_of_each():
    prefix = make_prefix(dag="d" * 300, task="t" * 20, run="r" * 300)
    assert "d" * 40 in prefix
    assert "t" * 20 in prefix
    assert "r" * 40 in prefix


def test_names_of_one_prefix_are_unique_and_sort_by_time(monkeypatch):
    prefix = make_prefix()
    assert len({job_names.make_unique(prefix) for _ in range(1000)}) == 1000
    monkeypatch.setattr(job_names.time, "time", lambda: 1_800_000_000.0)
    earlier = job_names.make_unique(prefix)
    monkeypatch.setattr(job_names.time, "time", lambda: 1_800_000_000.001)
    assert earlier < job_names.make_unique(prefix)


def test_a_name_made_elsewhere_has_no_unique_end():
    assert job_names.split_name("nightly-build") == ("nightly-build", "")


def test_prefixes_of_callbacks_and_connection_tests_are_names():
    for prefix in (job_names.make_callback_prefix("../x y"), job_names.make_connection_test_prefix("a" * 500)):
        assert check_job_name(job_names.make_unique(prefix))
