"""Many processes that do the same thing at the same moment."""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Callable
from typing import Any


def at_once(count: int, work: Callable[[int], Any]) -> list[Any]:
    """Fork `count` children, let `work(number)` begin in all of them together, and return what it returned, as JSON.

    :raises AssertionError: one of them raised; the message holds its traceback.
    """
    gate_reader, gate_writer = os.pipe()
    children: list[tuple[int, int]] = []
    for number in range(count):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(gate_writer)
            os._exit(_run(gate_reader, writer, number, work))
        os.close(writer)
        children.append((pid, reader))
    # The end of this file is the signal to begin: all see it at once.
    os.close(gate_reader)
    os.close(gate_writer)
    results: list[Any] = []
    errors: list[str] = []
    for pid, reader in children:
        with open(reader, encoding="utf-8") as answer:
            content = answer.read()
        _, status = os.waitpid(pid, 0)
        if status == 0:
            results.append(json.loads(content))
        else:
            errors.append(content)
    assert not errors, errors[0]
    return results


def _run(gate: int, writer: int, number: int, work: Callable[[int], Any]) -> int:
    try:
        os.read(gate, 1)
        answer, code = json.dumps(work(number)), 0
    except BaseException:
        answer, code = traceback.format_exc(), 1
    with open(writer, "w", encoding="utf-8") as file:
        file.write(answer)
    return code
