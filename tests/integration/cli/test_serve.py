"""`air-executor serve` as a real process, asked over real sockets, with a real manager."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.integration.cli.conftest import Shell
from tests.support.waiting import wait_until

ODD = "airflow-manual__2025-10-02T07:30:00+00:00~1"
CANARY = "canary-5d1e"


class Server:
    """A server, and requests to it as they stand."""

    def __init__(self, shell: Shell, *options: str) -> None:
        self._output = shell.directory / "serve.out"
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                shell.arguments("serve", *options),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=shell.variables,
                cwd=shell.directory,
            )
        self.root = shell.root
        wait_until(lambda: "curl" in self.output() or self.process.poll() is not None, what="a server")
        assert self.process.poll() is None, self.output()

    def output(self) -> str:
        return self._output.read_text()

    @property
    def port(self) -> int:
        found = re.search(r"http://127\.0\.0\.1:(\d+)/jobs", self.output())
        assert found is not None
        return int(found[1])

    @property
    def header(self) -> str:
        return (self.root / "http.token").read_text().strip()

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
        """Return status and text; a header that is empty is left out."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        name, _, value = self.header.partition(": ")
        sent = {"Host": f"127.0.0.1:{self.port}", name: value, **headers}
        with contextlib.closing(connection):
            connection.putrequest(method, path, skip_host=True)
            for key, text in sent.items():
                if text:
                    connection.putheader(key, text)
            connection.endheaders()
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def json(self, path: str) -> Any:
        status, text = self.ask(path)
        assert status == 200, text
        return json.loads(text)

    def listen(self, name: str) -> socket.socket:
        """Open an event stream."""
        client = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        host = f"Host: 127.0.0.1:{self.port}"
        # Else the end of the stream is not that of the connection, which is kept for a while.
        lines = (f"GET /jobs/{name}/events HTTP/1.1", host, "Connection: close", self.header, "", "")
        client.sendall("\r\n".join(lines).encode())
        return client

    def watches(self) -> int:
        """Return how many directories it watches."""
        count = 0
        for entry in Path("/proc", str(self.process.pid), "fdinfo").iterdir():
            with contextlib.suppress(FileNotFoundError):
                count += entry.read_text().count("inotify wd:")
        return count

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)


@pytest.fixture
def server(shell: Shell) -> Iterator[Server]:
    server = Server(shell, "--port", "0")
    yield server
    if server.process.poll() is None:
        assert server.end() == 0, server.output()


def read_events(client: socket.socket) -> list[tuple[str, dict[str, Any]]]:
    """Return the events of a stream up to its end."""
    with client, client.makefile("rb") as answer:
        content = answer.read().decode()
    found = re.findall(r"^event: (\w+)\r?\ndata: (.*?)\r?$", content, re.MULTILINE)
    return [(kind, json.loads(data)) for kind, data in found]


def test_what_a_job_does_is_told_while_it_does_it(shell: Shell, server: Server) -> None:
    gate = shell.directory / "gate"
    shell.ok(
        "submit", "--name", ODD, "--", "sh", "-c", f"echo begun; while [ ! -e {gate} ]; do sleep 0.05; done; echo done"
    )
    wait_until(lambda: server.json(f"/jobs/{ODD}")["running"], what="a running task")
    streams = [server.listen(ODD) for _ in range(3)]
    wait_until(server.watches, lambda count: count == 1, what="one watch for three listeners")

    progress = server.json(f"/jobs/{ODD}/progress")
    assert (progress["job_name"], progress["state"], progress["total_tasks"], progress["percent"]) == (
        ODD,
        "working",
        1,
        0.0,
    )
    assert progress["tasks"][0]["status"] == "running"
    assert server.json("/jobs?state=working&limit=1")["jobs"][0]["name"] == ODD
    assert wait_until(lambda: server.ask(f"/jobs/{ODD}/tasks/task-1/log")[1]) == "begun\n"
    assert server.json(f"/jobs/{ODD}/tasks/task-1")["explanation"].startswith("it runs: attempt 1")
    manager = server.json("/manager")
    assert (manager["running"], manager["attempts"], manager["is_draining"]) == (True, 1, False)
    assert manager["pid"] == int((shell.root / "manager.pid").read_text())

    gate.touch()
    for stream in streams:
        events = read_events(stream)
        assert [kind for kind, _ in events][-2:] == ["progress", "end"]
        assert (events[0][1]["running"], events[-1][1]["completed"], events[-1][1]["state"]) == (1, 1, "completed")
    assert server.ask(f"/jobs/{ODD}/tasks/task-1/log?offset=6")[1] == "done\n"
    assert server.json(f"/jobs/{ODD}/timeline")["total"] == 1
    wait_until(server.watches, lambda count: count == 0, what="no watch")


def test_a_listener_that_goes_away_frees_its_watch(shell: Shell, server: Server) -> None:
    shell.ok("submit", "--name", "job", "--", "sleep", "60")
    streams = [server.listen("job") for _ in range(2)]
    wait_until(server.watches, lambda count: count == 1, what="a watch")
    for stream in streams:
        stream.close()

    wait_until(server.watches, lambda count: count == 0, what="no watch")
    shell.ok("cancel", "job", "--wait")


def test_tasks_that_are_queued_are_seen(shell: Shell, server: Server) -> None:
    shell.ok("submit", "--name", "job", "--", "sh", "-c", f"seq 7 | {shell.script()} queue --each-line - -- echo")
    shell.ok("wait", "job")

    assert server.json("/jobs/job/progress?tasks=false")["completed"] == 8
    assert server.json("/jobs/job/tasks?q=queue")["total"] == 1
    listed = server.json("/jobs/job/tasks?status=completed&order=started&descending=true&limit=3")
    assert (len(listed["tasks"]), listed["total"]) == (3, 8)
    # Queued tasks carry the directory where they were queued.
    assert str(shell.directory) in (shell.root / "jobs" / "job" / "tasks.json").read_text()
    assert all("cwd" not in task for task in server.json("/jobs/job/progress")["tasks"])


def test_it_is_for_those_who_have_the_token_and_came_by_its_name(shell: Shell, server: Server) -> None:
    shell.ok("run", "--name", "job", "--", "true")
    for path in ("/jobs", "/jobs/job/progress", "/jobs/job/events", "/docs", "/openapi.json"):
        assert server.ask(path)[0] == 200
        assert server.ask(path, Authorization="")[0] == 401
        assert server.ask(path, Authorization="Bearer wrong")[0] == 401
        assert server.ask(path, Host="evil.example.org")[0] == 400
        assert server.ask(path, Host="")[0] == 400
        assert server.ask(path, Origin="http://evil.example.org")[0] == 403
        for method in ("POST", "DELETE", "OPTIONS"):
            assert server.ask(path, method)[0] == 405
    assert shell.json("jobs")[0]["state"] == "completed"


HOSTILE = [
    "/jobs/..",
    "/jobs/../../etc/passwd",
    "/jobs/%2e%2e",
    "/jobs/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "/jobs/job/tasks/../../../../etc/passwd/log",
    "/jobs/job/tasks/%2e%2e%2f%2e%2e%2fworkload.json/log",
    "/jobs/job/tasks/task-1/log?attempt=../../workload",
    "//etc/passwd",
    "/jobs/%00",
    "/jobs/%ff%fe",
    "/jobs/job%0d%0aX:%20y",
    "/%6aobs/..%5c..",
    "/jobs?state=%00",
]


def test_hostile_paths(shell: Shell, server: Server) -> None:
    shell.ok("run", "--name", "job", "--", "true")
    for path in HOSTILE:
        status, text = server.ask(path)

        assert status in (400, 404, 422), path
        assert list(json.loads(text)) == ["detail"]
        assert "root:" not in text
        assert str(shell.root) not in text


def test_archived_and_damaged_jobs(shell: Shell, server: Server) -> None:
    shell.ok("run", "--name", "old", "--", "echo", "kept")
    os.rename(shell.root / "jobs" / "old", shell.root / "archive" / "old")
    (shell.root / "jobs" / "bad").mkdir()
    (shell.root / "jobs" / "bad" / "state.json").write_text("[[[[")

    assert server.json("/jobs/old")["state"] == "completed"
    assert server.ask("/jobs/old/tasks/task-1/log") == (200, "kept\n")
    assert [kind for kind, _ in read_events(server.listen("old"))] == ["progress", "end"]
    assert server.ask("/jobs/bad")[0] in (200, 500)
    assert server.ask("/jobs")[0] == 200


def test_secrets_stay_out(shell: Shell, server: Server) -> None:
    shell.ok("run", "--name", "job", "--env", f"PASSWORD={CANARY}", "--", "true", PASSWORD=CANARY)
    token = server.header.rpartition(" ")[2]
    assert CANARY in (shell.root / "jobs" / "job" / "tasks.json").read_text()

    seen = [
        server.ask(path)[1]
        for path in ("/jobs", "/jobs/job/progress", "/jobs/job/tasks", "/jobs/job/tasks/task-1", "/docs")
    ]
    seen += [json.dumps(data) for _, data in read_events(server.listen("job"))]
    process = psutil.Process(server.process.pid)
    for text in (*seen, *process.cmdline(), *process.environ().values(), server.output()):
        assert token not in text
        assert CANARY not in text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_at_once_although_somebody_listens(shell: Shell, server: Server, number: int) -> None:
    shell.ok("submit", "--name", "job", "--", "sleep", "60")
    stream = server.listen("job")
    wait_until(server.watches, lambda count: count == 1, what="a listener")

    assert server.end(number) == 0
    assert [kind for kind, _ in read_events(stream)] in (["progress"], ["progress", "progress"])
    assert len(server.output().splitlines()) == 2, server.output()
    shell.ok("cancel", "job", "--wait")


def test_a_socket_of_ones_own(shell: Shell) -> None:
    path = shell.directory / "own" / "http.sock"
    server = Server(shell, "--socket", str(path), "--no-token")
    try:
        assert path.parent.stat().st_mode & 0o777 == 0o700
        with socket.socket(socket.AF_UNIX) as client, client.makefile("rb") as answer:
            client.connect(str(path))
            client.sendall(b"GET /jobs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert answer.readline() == b"HTTP/1.1 200 OK\r\n"
    finally:
        assert server.end() == 0
    assert not path.exists()
    assert not (shell.root / "http.token").exists()


def test_connections_are_counted(shell: Shell) -> None:
    server = Server(shell, "--port", "0", "--max-connections", "3")
    try:
        held = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(3)]
        wait_until(lambda: server.ask("/jobs")[0], lambda status: status == 503, what="too many")
        for each in held:
            each.close()
        wait_until(lambda: server.ask("/jobs")[0], lambda status: status == 200, what="room")
    finally:
        assert server.end() == 0


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--host", "0.0.0.0"], 2, "--expose"),
        (["--host", "::"], 2, "--expose"),
        (["--no-token"], 2, "--socket"),
        (["--allow-host", "*"], 2, "--allow-host"),
        (["--port", "70000"], 2, "port"),
        (["--host", "no such host", "--expose"], 5, "--host"),
        (["--token-file", "/dev/null"], 5, "/dev/null"),
        (["--socket", "/tmp/http.sock"], 5, "--socket"),
    ],
)
def test_what_is_refused(shell: Shell, options: list[str], code: int, said: str) -> None:
    result = shell("serve", *options)

    assert (result.returncode, result.stdout) == (code, "")
    assert len(result.stderr.splitlines()) == 1
    assert said in result.stderr


def test_a_port_that_is_taken(shell: Shell, server: Server) -> None:
    result = shell("serve", "--port", str(server.port))

    assert result.returncode == 5
    assert "choose another --port" in result.stderr


def test_without_the_extra_the_remedy_is_named(shell: Shell) -> None:
    code = "import sys; sys.modules['uvicorn'] = None; from air_executor.cli.main import main; main(['serve'])"
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=shell.variables,
        cwd=shell.directory,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (result.returncode, result.stdout) == (5, "")
    assert (
        result.stderr
        == "air-executor: serving needs the extra `web` (uvicorn is missing): pip install 'air-executor[web]'\n"
    )
