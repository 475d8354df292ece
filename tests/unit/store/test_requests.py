"""Requests: whole, in order, answered; what cannot be one is refused with the reason."""

from __future__ import annotations

import errno
import json
import os

import pytest

from air_executor.errors import DamagedFileError, InvalidJobError, SubmissionError
from air_executor.store.requests import (
    AnyRequest,
    CancelJob,
    CloseJob,
    QueueTasks,
    RetryTasks,
    WarmUp,
    await_reply,
    list_requests,
    read_request,
    refuse_request,
    send_request,
)
from air_executor.store.root import Root
from tests.support.jobs import task
from tests.support.processes import at_once


@pytest.mark.parametrize(
    "request_",
    [
        QueueTasks(job="j", tasks=(task("a", env={"A": "1"}), task("b", "a"))),
        CancelJob(job="j", reason="line\nline"),
        CloseJob(job="j"),
        RetryTasks(job="j"),
        RetryTasks(job="j", tasks=("a",)),
        WarmUp(environment="abc"),
    ],
    ids=lambda request_: type(request_).__name__,
)
def test_what_is_sent_is_read(root: Root, request_: AnyRequest) -> None:
    path = send_request(root, request_)
    assert list_requests(root) == [path]
    assert read_request(path) == request_
    assert path.stat().st_mode & 0o777 == 0o600


def test_they_are_read_in_the_order_in_which_they_were_sent(root: Root) -> None:
    sent = [send_request(root, CancelJob(job=f"j{n}"), durable=False) for n in range(50)]
    assert list_requests(root) == sent


def test_fifty_senders_at_once_lose_nothing(root: Root) -> None:
    def send(number: int) -> None:
        for n in range(20):
            send_request(root, CloseJob(job=f"j-{number}-{n}"), durable=False)

    at_once(50, send)
    found = {read_request(path).job for path in list_requests(root)}
    assert len(found) == 1000
    assert list(root.tmp.iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"request": "destroy"}',
        b'{"request": "cancel"}',
        b'{"request": "queue", "job": "j", "tasks": 1}',
    ],
)
def test_what_is_no_request_is_damaged(root: Root, content: bytes) -> None:
    path = root.requests / "x.json"
    path.write_bytes(content)
    with pytest.raises(DamagedFileError, match=f"{path}: .*correct"):
        read_request(path)


def test_files_in_the_making_and_of_others_are_not_listed(root: Root) -> None:
    for name in ("a.tmp", "b.refused", "c d.json", ".json"):
        (root.requests / name).write_text("{}")
    assert [path.name for path in list_requests(root)] == [".json"]


@pytest.mark.parametrize("call", ["write", "fsync", "rename"])
def test_a_disk_that_refuses_leaves_nothing(root: Root, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def failing(*_: object, **__: object) -> object:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, failing)
    with pytest.raises(SubmissionError, match=r"the request was not written: .*No space left"):
        send_request(root, CloseJob(job="j"))
    monkeypatch.undo()
    assert list_requests(root) == []
    assert list(root.tmp.iterdir()) == []


def test_a_sender_learns_that_it_was_carried_out_or_why_not(root: Root) -> None:
    path = send_request(root, CloseJob(job="j"))
    assert await_reply(path, 0.01) is False
    path.unlink()
    assert await_reply(path, 10) is True
    path = send_request(root, CloseJob(job="j"))
    refuse_request(path, "there is no job j")
    with pytest.raises(InvalidJobError, match="there is no job j"):
        await_reply(path, 10)
    assert list(root.requests.iterdir()) == []


def test_a_refusal_is_not_written_through_a_link(root: Root) -> None:
    victim = root.path / "victim"
    victim.write_text("mine")
    path = send_request(root, CloseJob(job="j"))
    path.with_suffix(".refused").symlink_to(victim)
    refuse_request(path, "no")
    assert victim.read_text() == "mine"
    assert json.dumps(path.with_suffix(".refused").read_text()) == '"no"'
