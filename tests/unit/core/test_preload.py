from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from air_executor.core import preload
from air_executor.core.preload import (
    Began,
    Denial,
    Denied,
    Imported,
    Importing,
    Learned,
    LoadedModule,
    Passed,
    Report,
    TrialNote,
)
from air_executor.core.preload_explanation import Standing, explain_module

NOW = datetime(2026, 11, 20, 12, tzinfo=timezone.utc)
LATER = NOW + timedelta(days=1)


@pytest.fixture
def learned():
    return Learned("/usr/bin/python3", fingerprint="f1")


def see(learned, *names, attempts=2, at=NOW):
    preload.take_reports(learned, [Report(names)] * attempts, at)


def load(learned, module, *brings, at=NOW):
    learned.loaded[module] = LoadedModule(at, 0.5, 1 << 20, brings)


def test_modules_of_too_few_attempts_are_no_candidates(learned):
    see(learned, "pandas", attempts=1)
    assert preload.list_candidates(learned, NOW) == []

    see(learned, "pandas", attempts=1)
    assert preload.list_candidates(learned, NOW) == ["pandas"]


def test_a_name_counts_once_in_a_report(learned):
    preload.take_reports(learned, [Report(("pandas", "pandas"))], NOW)
    assert learned.seen["pandas"].attempts == 1


def test_candidates_keep_the_order_of_import_with_what_was_loaded_first(learned):
    load(learned, "numpy")
    see(learned, "pandas", "pandas.core", "attrs")
    assert preload.list_candidates(learned, NOW) == ["numpy", "pandas", "pandas.core", "attrs"]


def test_packages_come_before_their_modules_and_behind_what_they_need(learned):
    # As Python lists them: an import that ends moves its module to the end.
    see(learned, "numpy.version", "numpy", "pandas.core.frame", "pandas.core", "pandas", "attrs.part")
    names = ["numpy", "numpy.version", "pandas", "pandas.core", "pandas.core.frame", "attrs.part"]
    assert preload.list_candidates(learned, NOW) == names


@pytest.mark.parametrize("name", ["../x", "a b", "", ".a", "a.", "a..b", "1a", "a-b", "x" * 201, "a\nb", "a;b"])
def test_what_is_no_name_of_a_module_is_left_out(learned, name):
    assert not preload.take_reports(learned, [Report((name,), (name,))], NOW)
    assert learned.seen == {}
    assert learned.shadowed == {}


def test_names_are_bounded(learned, monkeypatch):
    monkeypatch.setattr(preload, "MOST_NAMES", 3)
    preload.take_reports(learned, [Report(tuple(f"m{number}" for number in range(9)))], NOW)
    assert len(learned.seen) == 3


def test_denied_package_covers_its_modules_but_not_its_neighbours(learned):
    learned.denied["bad"] = Denial(NOW, "thread", "it starts a thread")
    see(learned, "bad", "bad.part", "badly")
    assert preload.list_candidates(learned, NOW) == ["badly"]


def test_name_that_tasks_import_from_elsewhere_is_no_candidate(learned):
    see(learned, "helper", "google.cloud")
    preload.take_reports(learned, [Report((), ("helper", "google.ours"))], NOW)
    assert preload.list_candidates(learned, NOW) == ["google.cloud"]


def test_what_was_not_seen_for_long_is_forgotten(learned):
    see(learned, "pandas")
    load(learned, "numpy")
    long_after = NOW + preload.FORGET_AFTER

    assert preload.list_candidates(learned, long_after) == []
    assert preload.list_verified(learned, "f1", long_after) == []
    preload.forget_old(learned, long_after)
    assert learned.seen == {}


def test_verified_holds_for_one_fingerprint(learned):
    load(learned, "numpy")
    assert preload.list_verified(learned, "f1", NOW) == ["numpy"]
    assert preload.list_verified(learned, "f2", NOW) == []


def test_another_fingerprint_keeps_names_and_forgets_verdicts(learned):
    load(learned, "numpy", "numpy.core")
    learned.denied["bad"] = Denial(NOW, "error", "raises")
    learned.trial = TrialNote(NOW, "exit code 1", 3)
    see(learned, "bad")

    preload.renew(learned, "f2", LATER)

    assert (learned.loaded, learned.denied, learned.trial) == ({}, {}, None)
    assert preload.list_candidates(learned, LATER) == ["numpy", "bad"]


def test_record_of_a_trial_that_passed(learned):
    see(learned, "pandas", "pandas.core", "json", "bad", "other")
    lines = [
        Began("f1"),
        Importing("pandas"),
        Imported("pandas", 0.5, 100, ("pandas.core",)),
        Denied("bad", "thread", "it starts a thread"),
        Passed(True, ("json",)),
    ]

    preload.take_record(learned, lines, LATER, ended=None, was_trial=True)

    assert learned.loaded == {"pandas": LoadedModule(LATER, 0.5, 100, ("pandas.core",))}
    assert learned.denied["bad"].reason == "it starts a thread"
    assert set(learned.seen) == {"bad", "other"}
    assert learned.trial == TrialNote(LATER)
    assert preload.list_loaded(lines) == {"pandas", "pandas.core", "json"}
    assert preload.find_untried(learned, preload.list_loaded(lines), LATER) == ["other"]


def test_a_module_that_was_loaded_before_keeps_its_age(learned):
    load(learned, "pandas")
    lines = [Began("f1"), Importing("pandas"), Imported("pandas", 0.5, 100), Passed()]
    preload.take_record(learned, lines, LATER, ended=None, was_trial=True)
    assert learned.loaded["pandas"].since == NOW


def test_the_import_that_ended_the_process_is_denied(learned):
    load(learned, "fine")
    see(learned, "bad")
    lines = [Began("f1"), Importing("fine"), Imported("fine", 0, 0), Importing("bad")]

    preload.take_record(learned, lines, NOW, ended="SIGSEGV", was_trial=True)

    assert learned.denied["bad"].cause == "crash"
    assert "SIGSEGV" in learned.denied["bad"].reason
    assert list(learned.loaded) == ["fine"]
    assert learned.trial == TrialNote(NOW, "SIGSEGV", 0)


def test_a_start_that_broke_denies_what_was_verified(learned):
    load(learned, "bad")
    preload.take_record(learned, [Began("f1"), Importing("bad")], NOW, ended="SIGSEGV", was_trial=False)
    assert learned.loaded == {}
    assert preload.list_verified(learned, "f1", NOW) == []


def test_a_generation_that_runs_has_no_culprit(learned):
    preload.take_record(learned, [Began("f1"), Importing("slow")], NOW, ended=None, was_trial=True)
    assert learned.denied == {}
    assert learned.trial is None


def test_trials_that_fail_without_a_culprit_get_rarer(learned):
    pauses = []
    for _ in range(6):
        preload.take_record(learned, [Began("f1")], NOW, ended="SIGKILL", was_trial=True)
        pauses.append(preload.trial_pause_s(learned.trial))
    assert pauses == sorted(pauses)
    assert pauses[0] > preload.INTERVAL_S
    assert pauses[-1] == 6 * 3600

    preload.take_record(learned, [Began("f1"), Passed()], NOW, ended=None, was_trial=True)
    assert preload.trial_pause_s(learned.trial) == preload.INTERVAL_S


def test_a_record_without_a_beginning_teaches_nothing(learned):
    preload.take_record(learned, [Denied("x", "error", "y")], NOW, ended="exit code 1", was_trial=True)
    assert learned == Learned("/usr/bin/python3", fingerprint="f1")


class TestExplanations:
    def test_loaded(self, learned):
        load(learned, "pandas", "pandas.core")
        assert explain_module(learned, "pandas", NOW).standing is Standing.LOADED
        assert "comes with pandas" in explain_module(learned, "pandas.core", NOW).text

    def test_denied_with_its_package_and_a_remedy(self, learned):
        learned.denied["bad"] = Denial(NOW, "crash", "its import ended the process (SIGSEGV)")
        found = explain_module(learned, "bad.part", NOW)
        assert found.standing is Standing.DENIED
        assert "bad: its import ended the process" in found.text
        assert found.remedy is not None
        assert "import bad'" in found.remedy

    def test_seen_and_waiting(self, learned):
        see(learned, "once", attempts=1)
        see(learned, "twice")
        assert explain_module(learned, "once", NOW).standing is Standing.SEEN
        assert explain_module(learned, "twice", NOW).standing is Standing.WAITING

    def test_code_of_a_dag_folder_is_read_fresh(self, learned):
        preload.take_reports(learned, [Report((), ("helper",))], NOW)
        assert explain_module(learned, "helper", NOW).standing is Standing.FRESH
        see(learned, "helper")
        assert explain_module(learned, "helper", NOW).standing is Standing.DENIED

    def test_unknown(self, learned):
        assert explain_module(learned, "nobody", NOW).standing is Standing.UNKNOWN

    @pytest.mark.parametrize("cause", ["error", "thread", "memory", "origin", "unheard of"])
    def test_every_cause_can_be_told(self, learned, cause):
        learned.denied["bad"] = Denial(NOW, cause, "reason")
        assert "reason" in explain_module(learned, "bad", NOW).text
