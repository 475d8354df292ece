"""What a parse logs, and where its loggers write to afterwards. In a process of its own: logging belongs to all of it."""

from __future__ import annotations

import json
import subprocess
import sys

SCRIPT = """
import io, logging, sys
import structlog
from airflow.sdk.log import configure_logging, reset_logging
from air_executor.airflow.parse_output import ParseOutput

output = ParseOutput()
with output.keep():
    bound = structlog.get_logger("of_file").bind(team="x")
    handler = logging.root.handlers[0]
    bound.info("during")
    print("printed")
bound.info("between")

def set_up(sink):
    reset_logging()
    configure_logging(json_output=True, output=sink, sending_to_supervisor=True)

for task in ("one", "two"):
    sink = io.BytesIO()
    set_up(sink)
    output.say_again()
    bound.info("after", task=task)
    handler.emit(logging.makeLogRecord({"msg": "handled", "levelname": "INFO", "levelno": 20, "name": "of_file"}))
    sys.stdout.flush()
    sys.stdout.buffer.write(sink.getvalue())
    sys.stdout.flush()
"""


def test_loggers_that_a_parse_has_bound_write_to_the_log_of_each_task():
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT], capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines.count("printed") == 2
    records = [json.loads(line) for line in lines if line.startswith("{")]
    assert [record["event"] for record in records] == ["during", "after", "handled"] * 2
    assert [record["task"] for record in records if record["event"] == "after"] == ["one", "two"]
    assert {record["team"] for record in records if record["event"] != "handled"} == {"x"}
    # Before logging is set up anew there is nobody to write to.
    assert "between" in result.stderr
