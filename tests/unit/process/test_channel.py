from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from air_executor.process import channel as channel_module
from air_executor.process.channel import Channel, MessageTooLongError
from air_executor.process.protocol import Ended, Launch, Report

Pair = tuple[Channel[Report], Channel[Launch], socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    left, right = socket.socketpair()
    manager: Channel[Report] = Channel(left, Report)
    server: Channel[Launch] = Channel(right, Launch)
    yield manager, server, left
    manager.close()
    server.close()


def launch(number: int, size: int = 0) -> Launch:
    return Launch(attempt_id=f"j/{number}/1", log_path="/l", command="true", args=("x" * size,))


def test_messages_arrive_whole_and_in_order(pair: Pair) -> None:
    manager, server, _ = pair
    sent = [launch(number, number) for number in range(100)]
    manager.send(sent)
    assert server.receive() == sent
    assert server.receive() == []
    assert not server.has_ended


def test_nothing_blocks_and_nothing_is_lost_when_the_peer_is_slow(pair: Pair) -> None:
    manager, server, _ = pair
    sent = [launch(number, 10_000) for number in range(300)]
    manager.send(sent)
    assert manager.want_write
    received = []
    while len(received) < len(sent):
        received += server.receive()
        manager.flush()
    assert received == sent
    assert not manager.want_write


def test_a_line_may_arrive_in_pieces(pair: Pair) -> None:
    manager, server, raw = pair
    manager.send([launch(1)])
    whole = b'{"type":"launch","attempt_id":"j/2/1","log_path":"/l","command":"c"}\n'
    for index in range(len(whole)):
        raw.send(whole[index : index + 1])
        expected = ([launch(1)] if index == 0 else []) + (
            [Launch(attempt_id="j/2/1", log_path="/l", command="c")] if index == len(whole) - 1 else []
        )
        assert server.receive() == expected


def test_the_end_is_seen_together_with_what_came_before(pair: Pair) -> None:
    manager, server, _ = pair
    manager.send([launch(1)])
    manager.finish_sending()
    assert server.receive() == [launch(1)]
    assert server.has_ended
    server.send([Ended(attempt_id="j/1/1", at=1.0, exit_code=0)])
    assert [report.attempt_id for report in manager.receive() if isinstance(report, Ended)] == ["j/1/1"]


def test_what_nobody_reads_is_dropped(pair: Pair) -> None:
    manager, server, _ = pair
    manager.close()
    for _ in range(3):
        server.send([Ended(attempt_id="j/1/1", at=1.0, exit_code=0)])
    assert not server.want_write
    server.receive()
    assert server.has_ended


@pytest.mark.parametrize("line", [b"nonsense\n", b'{"type":"ended"}\n', b'{"type":"launch"}\n'])
def test_a_broken_message_ends_the_channel(pair: Pair, line: bytes) -> None:
    _, server, raw = pair
    raw.send(line)
    assert server.receive() == []
    assert server.has_ended
    assert server.fault


def test_a_line_without_end_ends_the_channel(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_module, "MAX_LINE_BYTES", 1000)
    _, server, raw = pair
    raw.send(b"x" * 1001)
    assert server.receive() == []
    assert server.has_ended


def test_a_message_that_is_too_long_is_refused_before_anything_is_sent(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_module, "MAX_LINE_BYTES", 1000)
    manager, server, _ = pair
    with pytest.raises(MessageTooLongError):
        manager.send([launch(1), launch(2, 1000)])
    manager.send([launch(3)])
    assert server.receive() == [launch(3)]
