from __future__ import annotations

import os
import time

import pytest

from air_executor.core.preload import Began, Importing, Learned, Passed, Report, TemplateNote
from air_executor.store import learned as learned_module
from air_executor.store.learned import LearnedFiles, RecordWriter, files_of, list_learned
from air_executor.store.records import utc_now
from air_executor.store.stamps import Stamp, find_changed, read_stamps, take_stamp, write_stamps


@pytest.fixture
def files(tmp_path):
    files = LearnedFiles(tmp_path / "preload" / "digest")
    files.create()
    return files


def test_what_was_learned_is_read_as_it_was_written(files):
    assert files.read() is None
    files.write(Learned("/usr/bin/python3", fingerprint="f"))
    assert files.read() == Learned("/usr/bin/python3", fingerprint="f")
    assert files.learned.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", ["", "{", '{"python": 7}', "[" * 100_000])
def test_damaged_file_counts_as_nothing_learned(files, content):
    files.learned.write_text(content)
    assert files.read() is None


def test_reports_are_taken_once(files):
    files.add_report(Report(("pandas",)))
    files.add_report(Report(("numpy",), ("helper",)))
    assert files.has_reports()

    assert sorted(report.modules for report in files.take_reports()) == [("numpy",), ("pandas",)]

    assert not files.has_reports()
    assert files.take_reports() == []


def test_reports_that_cannot_be_read_are_removed(files):
    (files.reports / "broken.json").write_text("{")
    (files.reports / "large.json").write_bytes(b" " * (learned_module.MOST_REPORT_BYTES + 1))
    (files.reports / "link.json").symlink_to("/etc/passwd")
    (files.reports / "directory.json").mkdir()
    files.add_report(Report(("pandas",)))

    assert [report.modules for report in files.take_reports()] == [("pandas",)]
    assert [path.name for path in files.reports.iterdir()] == ["directory.json"]
    assert not files.has_reports()


def test_unfinished_report_is_left_alone_until_it_is_old(files):
    unfinished = files.reports / ".x.json"
    unfinished.write_text("{")
    assert files.take_reports() == []
    assert unfinished.exists()

    past = time.time() - 7200
    os.utime(unfinished, (past, past))
    files.take_reports()
    assert not unfinished.exists()


def test_report_that_would_be_too_large_is_not_written(files):
    files.add_report(Report(tuple(f"{'x' * 190}{number}" for number in range(5000))))
    assert not files.has_reports()


def test_record_is_read_up_to_its_last_whole_line(files):
    writer = RecordWriter(files.record("one"))
    writer.write(Began("f"))
    writer.write(Importing("pandas"))
    assert files.read_record("one") == [Began("f"), Importing("pandas")]

    with files.record("one").open("a") as file:
        file.write('{"type":"pas')
    assert files.read_record("one") == [Began("f"), Importing("pandas")]


def test_record_is_read_up_to_a_damaged_line(files):
    files.record("one").write_text('{"type":"began","fingerprint":"f"}\n{"type":"nonsense"}\n{"type":"passed"}\n')
    assert files.read_record("one") == [Began("f")]
    assert files.read_record("none") == []


def test_record_belongs_to_one_generation(files):
    RecordWriter(files.record("one")).write(Passed())
    with pytest.raises(FileExistsError):
        RecordWriter(files.record("one"))


def test_records_are_discarded_with_their_generation_or_when_they_are_old(files):
    for name in ("one", "two"):
        RecordWriter(files.record(name)).close()
        write_stamps(files.stamps(name), [])
    files.discard_record("one")
    assert {path.name for path in files.records.iterdir()} == {"two.jsonl", "two.stamps.json"}
    files.discard_old_records(60)
    assert len(list(files.records.iterdir())) == 2
    files.discard_old_records(-60)
    assert list(files.records.iterdir()) == []


def test_forgetting_removes_what_was_learned_and_reported(files):
    files.write(Learned("python"))
    files.add_report(Report(("pandas",)))
    files.forget()
    assert files.read() is None
    assert not files.has_reports()


def test_environments_are_listed_the_last_used_first(root):
    assert list(list_learned(root)) == []
    for number, digest in enumerate(("first", "second")):
        files = files_of(root, digest)
        files.create()
        os.utime(files.directory, (number, number))
    (root.path / "preload" / "...").mkdir()
    assert [digest for digest, _ in list_learned(root)] == ["second", "first"]


def test_stamps_tell_what_was_changed(tmp_path):
    path = tmp_path / "file"
    absent = take_stamp(str(path))
    assert absent.mtime_ns is None
    path.write_text("1")
    present = take_stamp(str(path))

    assert find_changed([present]) is None
    assert find_changed([present, absent]) == str(path)
    path.write_text("22")
    assert find_changed([present]) == str(path)
    path.unlink()
    assert find_changed([absent]) is None
    assert find_changed([present]) == str(path)


def test_stamps_are_read_as_they_were_written(tmp_path):
    stamps = (take_stamp(str(tmp_path)), Stamp("/nowhere", None), Stamp("/x\udc80", None))[:2]
    write_stamps(tmp_path / "stamps", stamps)
    assert read_stamps(tmp_path / "stamps") == stamps
    assert read_stamps(tmp_path / "none") == ()
    (tmp_path / "broken").write_text("{")
    assert read_stamps(tmp_path / "broken") == ()


def test_the_generation_that_spoke_last_says_how_templates_stand(files):
    at = utc_now()
    first, second = LearnedFiles(files.directory), LearnedFiles(files.directory)
    first.write_templates("first", [TemplateNote(bundle="b", path="one.py", at=at)])
    second.write_templates("second", [TemplateNote(bundle="b", path="two.py", at=at, reason="it is so")])
    # It leaves later, and has nothing more to say.
    first.write_templates("first", [])
    assert [note.path for note in files.read_templates()] == ["two.py"]
    assert [path.name for path in files.records.iterdir()] == ["second.templates.json"]
    (files.records / "second.templates.json").write_text("[{")
    assert files.read_templates() == []
    files.forget()
    assert list(files.records.iterdir()) == []
