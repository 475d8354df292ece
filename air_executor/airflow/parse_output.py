"""Keeps what a parse in a template prints and logs, and says it again in each task: in its log, as if it had parsed itself."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from types import TracebackType
from typing import Any, BinaryIO, cast


class ParseOutput:
    """What one parse has said."""

    def __init__(self) -> None:
        """Nothing yet."""
        self._printed: dict[int, bytes] = {}
        self._logged: list[dict[str, Any]] = []

    @contextmanager
    def keep(self) -> Iterator[None]:
        """Keep what is printed and logged meanwhile. Logging has to be set up anew afterwards."""
        from airflow.sdk.log import configure_logging, reset_logging

        logged = os.memfd_create("air-executor-parse-log")
        with open(logged, "r+b", buffering=0) as file, self._keep_printed(), _Sink(file) as sink:
            reset_logging()  # type: ignore[no-untyped-call] # Airflow's
            # As in a task, whose records go to its supervisor; loggers that are bound meanwhile remember the sink.
            configure_logging(
                json_output=True,
                output=cast("BinaryIO", sink),
                sending_to_supervisor=True,
                cache_logger_on_first_use=False,
            )
            yield
            file.seek(0)
            self._logged = [_read_record(line) for line in file.read().splitlines() if line.strip()]

    @contextmanager
    def _keep_printed(self) -> Iterator[None]:
        streams = {1: sys.stdout, 2: sys.stderr}
        kept = {number: (os.dup(number), os.memfd_create("air-executor-parse-output")) for number in streams}
        for number, (_, sink) in kept.items():
            streams[number].flush()
            os.dup2(sink, number)
        try:
            yield
        finally:
            for number, (copy, sink) in kept.items():
                streams[number].flush()
                os.dup2(copy, number)
                self._printed[number] = os.pread(sink, os.fstat(sink).st_size, 0)
                os.close(copy)
                os.close(sink)

    def say_again(self) -> None:
        """Print and log all of it, as of now."""
        for number, stream in ((1, sys.stdout), (2, sys.stderr)):
            text = self._printed.get(number)
            if text:
                stream.write(text.decode("utf-8", "replace"))
                stream.flush()
        self._log_again()

    def _log_again(self) -> None:
        if not self._logged:
            return
        import structlog

        logger = _make_logger()
        for record in self._logged:
            now = datetime.now(tz=timezone.utc).isoformat().replace("+00:00", "Z")
            text = json.dumps({**record, "timestamp": now, **structlog.contextvars.get_contextvars()}, default=str)
            _write(logger, text.encode())


class _Sink:
    """Where loggers of the parse write to; afterwards, in tasks, that is where any logger would write to then."""

    def __init__(self, file: BinaryIO) -> None:
        self._file: BinaryIO | None = file

    def __enter__(self) -> _Sink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file = None

    def write(self, line: bytes) -> int:
        if self._file is not None:
            return self._file.write(line)
        logger = _make_logger()
        if getattr(logger, "_file", None) is self:
            # Logging was not set up anew yet.
            return sys.stderr.buffer.write(line)
        _write(logger, line.removesuffix(b"\n"))
        return len(line)

    def flush(self) -> None:
        """Do nothing: what is written goes on at once."""


def _make_logger() -> Any:
    """Return what structlog writes to as it is configured now, past the processors: these would name this module as the place."""
    import structlog

    return structlog.get_config()["logger_factory"]()


def _write(logger: Any, record: bytes) -> None:
    import structlog

    logger.msg(record if isinstance(logger, structlog.BytesLogger) else record.decode("utf-8", "replace"))


def _read_record(line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError:
        record = None
    return record if isinstance(record, dict) else {"event": line.decode("utf-8", "replace"), "level": "info"}
