"""When a new generation is tried, and when one is out of date; with files, without processes."""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone

import pytest

from air_executor.core import preload
from air_executor.core.preload import Began, Imported, Importing, Passed, Report
from air_executor.manager import generations as module
from air_executor.manager.generations import Generations
from air_executor.store.environments import Environment
from air_executor.store.learned import RecordWriter, files_of
from air_executor.store.stamps import take_stamp, write_stamps

ENVIRONMENT = Environment(python="/opt/bin/python", variables={}, cwd="/")


@pytest.fixture
def generations(root, clock):
    return Generations(root, clock)


@pytest.fixture
def watched(tmp_path):
    path = tmp_path / "watched"
    path.write_text("1")
    return path


@pytest.fixture
def serving(generations, watched):
    """A generation that has loaded nothing and learns."""
    generation = generations.begin("digest", ENVIRONMENT, "first")
    write_record(generation, Began("f"), Passed())
    write_stamps(generation.files.stamps("first"), [take_stamp(str(watched))])
    generations.note_passed(generation)
    return generation


def write_record(generation, *lines):
    writer = RecordWriter(generation.files.record(generation.name))
    for line in lines:
        writer.write(line)
    writer.close()


def report(generation, *names, attempts=2):
    for _ in range(attempts):
        generation.files.add_report(Report(names))


def look_later(generations, generation, clock):
    generations.note_news(generation)
    clock.now += preload.QUIET_S
    generations.look(generation)


def test_command_line_says_how_to_start(generations):
    assert generations.begin("digest", ENVIRONMENT, "a").arguments()[-1] == "verified"
    assert generations.begin("digest", ENVIRONMENT, "b", is_trial=True).arguments()[-1] == "trial"
    assert generations.begin("digest", ENVIRONMENT, "c", is_plain=True).arguments()[-1] == "plain"


def test_without_reports_nothing_is_tried(generations, serving, clock):
    look_later(generations, serving, clock)
    assert generations.trial_due_at(serving, clock.now) is None


def test_trial_waits_for_quiet_but_not_for_ever(generations, serving, clock):
    report(serving, "pandas")
    look_later(generations, serving, clock)

    assert generations.trial_due_at(serving, clock.now) == clock.now + preload.QUIET_S
    assert generations.trial_due_at(serving, None) == clock.now + preload.LATEST_S


def test_reports_are_read_only_when_there_is_news_and_not_at_once(generations, serving, clock):
    look_later(generations, serving, clock)
    report(serving, "pandas")
    generations.look(serving)
    assert serving.files.has_reports()

    generations.note_news(serving)
    generations.look(serving)
    assert serving.files.has_reports()

    clock.now += preload.QUIET_S
    generations.look(serving)
    assert not serving.files.has_reports()


def test_generation_that_does_not_learn_is_not_looked_after(generations, clock):
    generation = generations.begin("digest", ENVIRONMENT, "off")
    write_record(generation, Began("f"), Passed(is_learning=False))
    generations.note_passed(generation)
    report(generation, "pandas")

    look_later(generations, generation, clock)

    assert generations.trial_due_at(generation, clock.now) is None


def test_trial_follows_another_only_after_a_pause(generations, serving, clock, monkeypatch):
    instant = datetime(2026, 11, 20, tzinfo=timezone.utc)
    monkeypatch.setattr(module, "utc_now", lambda: instant)
    trial = generations.begin("digest", ENVIRONMENT, "trial", is_trial=True)
    write_record(trial, Began("f"), Passed())
    generations.note_passed(trial)
    monkeypatch.setattr(module, "utc_now", lambda: instant + timedelta(seconds=10))
    report(trial, "pandas")

    look_later(generations, trial, clock)

    assert generations.trial_due_at(trial, clock.now) == clock.now + preload.INTERVAL_S - 10


def test_started_trial_is_not_due_again(generations, serving, clock):
    report(serving, "pandas")
    look_later(generations, serving, clock)
    generations.note_trial(serving)
    assert generations.trial_due_at(serving, clock.now) is None


def test_what_the_trial_has_loaded_is_not_tried_again(generations, serving, clock):
    report(serving, "pandas")
    look_later(generations, serving, clock)
    trial = generations.begin("digest", ENVIRONMENT, "trial", is_trial=True)
    write_record(trial, Began("f"), Importing("pandas"), Imported("pandas", 0.1, 10), Passed())
    generations.note_passed(trial)

    look_later(generations, trial, clock)

    assert trial.loaded == {"pandas"}
    assert generations.trial_due_at(trial, clock.now) is None


def test_changed_file_makes_a_generation_outdated_once_in_a_while(generations, serving, watched, clock):
    assert generations.why_outdated(serving) is None
    watched.write_text("22")
    assert generations.why_outdated(serving) == str(watched)

    # A file that changes all the time must not cost a start for each task.
    assert generations.why_outdated(serving) is None
    clock.now += 60
    assert generations.why_outdated(serving) == str(watched)


def test_cleared_knowledge_outdates_what_was_loaded_by_it(generations, serving, clock):
    serving.files.forget()
    assert generations.why_outdated(serving) is None

    serving.loaded = frozenset({"pandas"})
    assert generations.why_outdated(serving) == str(serving.files.learned)


def test_learning_goes_on_after_knowledge_was_lost(generations, serving, clock):
    serving.files.learned.write_text("damaged")
    report(serving, "pandas")
    look_later(generations, serving, clock)
    assert serving.files.read().seen["pandas"].attempts == 2


@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM"])
def test_module_is_not_blamed_for_a_signal_from_outside(generations, how, monkeypatch):
    monkeypatch.setattr(module, "_describe_end", lambda pid: how)
    trial = generations.begin("digest", ENVIRONMENT, "trial", is_trial=True)
    write_record(trial, Began("f"), Importing("pandas"))

    generations.note_ended(trial, 1)

    learned = trial.files.read()
    assert learned.denied == {}
    assert (learned.trial.error, learned.trial.failures) == (how, 1)
    assert not trial.files.record("trial").exists()


def test_how_a_child_ended_is_told_without_reaping_it():
    child = os.fork()
    if child == 0:
        os._exit(7)
    assert module._describe_end(child) == "exit code 7"
    assert os.waitpid(child, 0)[0] == child
    assert "nobody saw" in module._describe_end(child)


def test_directory_that_cannot_be_used_costs_only_the_learning(generations, root):
    (root.path / "preload").write_text("a file")
    assert generations.begin("digest", ENVIRONMENT, "first") is None


def test_new_environment_inherits_what_the_same_python_has_seen(generations, serving, clock):
    report(serving, "pandas")
    look_later(generations, serving, clock)

    same = generations.begin("other", ENVIRONMENT, "second")
    different = generations.begin("third", Environment(python="/else", variables={}, cwd="/"), "third")

    assert list(same.files.read().seen) == ["pandas"]
    assert same.files.read().fingerprint is None
    assert different.files.read().seen == {}


def test_what_was_cleared_does_not_come_back_from_another_environment(generations, serving, clock):
    report(serving, "pandas")
    look_later(generations, serving, clock)
    other = generations.begin("other", ENVIRONMENT, "second")
    other.files.forget()

    assert generations.begin("other", ENVIRONMENT, "third").files.read().seen == {}


def test_tidying_keeps_what_is_in_use_and_what_is_not_ours(generations, root, serving):
    generations.begin("gone", ENVIRONMENT, "second")
    (root.path / "preload" / "mine").mkdir()

    generations.tidy(["digest"])

    left = {path.name for path in (root.path / "preload").iterdir()}
    assert left == {"digest", "mine"}
    assert files_of(root, "digest").read() is not None
