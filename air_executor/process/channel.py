"""One end of the socket pair between manager and fork server: JSON lines, never blocking."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Any, Generic, TypeVar

import msgspec

from air_executor.process.protocol import Message

MAX_LINE_BYTES = 8 * 1024 * 1024
"""Longest message; the kernel's limit on arguments and environment of a process is smaller."""

_RECEIVE_BYTES = 256 * 1024
_ENCODER = msgspec.json.Encoder()

MessageT = TypeVar("MessageT")


class MessageTooLongError(ValueError):
    """The message is longer than a channel carries: shorten the task's arguments or environment."""


class Channel(Generic[MessageT]):
    """Sends any message, receives those of one type (or union of types). Use from one thread."""

    def __init__(self, endpoint: socket.socket, incoming: Any) -> None:
        """Take over a connected stream socket; `incoming` is what `receive` decodes: `Launch` or `Report`."""
        endpoint.setblocking(False)
        endpoint.set_inheritable(False)
        self._endpoint = endpoint
        self._decoder: msgspec.json.Decoder[MessageT] = msgspec.json.Decoder(incoming)
        self._received = bytearray()
        self._unsent = bytearray()
        self._peer_stopped_sending = False
        self._peer_stopped_reading = False
        self.fault: str | None = None
        """Why the incoming side was given up, when the peer broke the protocol."""

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self._endpoint.fileno()

    @property
    def has_ended(self) -> bool:
        """Whether no more messages will come: the peer closed its end, was killed, or broke the protocol."""
        return self._peer_stopped_sending

    @property
    def want_write(self) -> bool:
        """Whether messages wait for the socket to take more: poll for writing, then `flush`."""
        return bool(self._unsent)

    def send(self, messages: Iterable[Message]) -> None:
        """Queue messages in order and send what the socket takes now. What nobody reads any more is dropped.

        Raises MessageTooLongError, with nothing queued.
        """
        lines = [_ENCODER.encode(message) for message in messages]
        if any(len(line) >= MAX_LINE_BYTES for line in lines):
            raise MessageTooLongError(f"a message exceeds {MAX_LINE_BYTES} bytes: shorten its arguments or environment")
        if not lines or self._peer_stopped_reading:
            return
        self._unsent += b"\n".join(lines) + b"\n"
        self.flush()

    def flush(self) -> None:
        """Send what waits, as far as the socket takes it."""
        try:
            while self._unsent:
                del self._unsent[: self._endpoint.send(self._unsent)]
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._peer_stopped_reading = True
            self._unsent.clear()

    def receive(self) -> list[MessageT]:
        """Take all whole messages that have arrived; check `has_ended` afterwards."""
        try:
            # Read on to the end of what is there, so that an end of file is seen together with the messages before it.
            while not self._peer_stopped_sending:
                chunk = self._endpoint.recv(_RECEIVE_BYTES)
                if not chunk:
                    self._peer_stopped_sending = True
                    break
                self._received += chunk
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            self._peer_stopped_sending = True
        return self._take_messages()

    def _take_messages(self) -> list[MessageT]:
        end = self._received.rfind(b"\n") + 1
        if end == 0:
            if len(self._received) > MAX_LINE_BYTES:
                self._give_up(f"a line longer than {MAX_LINE_BYTES} bytes")
            return []
        lines = bytes(self._received[:end])
        del self._received[:end]
        try:
            return self._decoder.decode_lines(lines)
        except msgspec.MsgspecError as error:
            # After a line that cannot be read nobody knows what is missing. Ending the channel makes the peer act
            # as after a crash, which it must be able to do anyway; runners go on.
            self._give_up(str(error))
            return []

    def _give_up(self, fault: str) -> None:
        self.fault = fault
        self._peer_stopped_sending = True
        self._received.clear()

    def finish_sending(self) -> None:
        """Tell the peer that no more messages come, while still receiving its own: how a manager retires a server."""
        try:
            self._endpoint.shutdown(socket.SHUT_WR)
        except OSError:
            self._peer_stopped_reading = True

    def close(self) -> None:
        """Close this end, for both directions."""
        self._endpoint.close()
