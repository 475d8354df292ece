"""Fork servers of this machine: one per kind of runner and environment, started when needed, retired when idle."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from air_executor.core.specs import RunnerKind
from air_executor.errors import AirExecutorError
from air_executor.manager.command_path import find_command_directory, with_command
from air_executor.manager.generations import Generation, Generations
from air_executor.manager.settings import ManagerSettings
from air_executor.process.channel import MessageTooLongError
from air_executor.process.protocol import Launch, NotStarted, Ready, Report
from air_executor.process.spawn import ServerProcess, command_server_argv, spawn_fork_server
from air_executor.process.spool import read_spool
from air_executor.store.environments import Environment, load_environment
from air_executor.store.root import Root

_log = logging.getLogger(__name__)

_MODULES: dict[str, str] = {"airflow": "air_executor.airflow.warm_parent"}
_LAST_BYTES = 1500
_MOST_LAUNCHES = 50_000
_START_TRIES = 3


class ServerKey(NamedTuple):
    """What a fork server is for."""

    kind: RunnerKind
    environment: str | None
    """Digest, or None for the manager's own environment."""


class LocalServer:
    """One running fork server and the attempts that it was given."""

    def __init__(
        self, key: ServerKey, process: ServerProcess, log_path: Path, generation: Generation | None = None
    ) -> None:
        self.key = key
        self.process = process
        self.log_path = log_path
        self.generation = generation
        """What a warm parent has loaded; None for other servers."""
        self.is_ready = False
        self.is_retiring = False
        self.attempts: set[str] = set()
        """Ids of attempts launched here whose end has not been reported."""
        self.launched = 0
        self.idle_since = time.monotonic()

    @property
    def name(self) -> str:
        """Return how log records call it."""
        kind = "warm parent" if self.key.kind == "airflow" else "fork server"
        return f"{'new ' if self.is_trial else ''}{kind} (pid {self.process.pid})"

    @property
    def is_trial(self) -> bool:
        """Claim that it is being tried, and so gets no work."""
        return self.generation is not None and self.generation.is_trial and not self.is_ready


class LocalLauncher:
    """Hands launches to fork servers and their reports to the manager."""

    def __init__(self, root: Root, settings: ManagerSettings, use_server: Callable[[LocalServer], None]) -> None:
        """Start nothing yet.

        :param use_server: called with each new server, so that the manager's loop watches its channel.
        """
        self.settings = settings
        self._root = root
        self._use_server = use_server
        self._generations = Generations(root)
        self._command_directory = find_command_directory()
        self._by_key: dict[ServerKey, LocalServer] = {}
        """Those that get work."""
        self.servers: dict[int, LocalServer] = {}
        """All servers by pid, also those that are retiring."""
        self._failed_starts: dict[ServerKey, int] = {}
        """How many servers in a row have gone before they were ready."""
        self._quiet_since = time.monotonic()

    def launch(self, key: ServerKey, launches: list[Launch]) -> list[NotStarted]:
        """Have these attempts started; returns those that cannot be, with the reason."""
        try:
            server = self._server(key)
            server.process.channel.send(launches)
        except (OSError, AirExecutorError, MessageTooLongError) as error:
            return [NotStarted(attempt_id=launch.attempt_id, at=time.time(), error=str(error)) for launch in launches]
        server.attempts.update(launch.attempt_id for launch in launches)
        server.launched += len(launches)
        if server.launched >= _MOST_LAUNCHES:
            # Its spool has grown long: the next launch gets a new server, this one leaves with its last runner.
            del self._by_key[key]
        return []

    def warm_up(self, key: ServerKey) -> None:
        """Start a server before its first task.

        :raises OSError: it could not be started.
        :raises DamagedFileError: its environment is missing or damaged.
        """
        self._server(key)

    def receive(self, server: LocalServer) -> list[Report]:
        """Return what a server reports; `has_ended` of its channel says whether it is gone or going."""
        reports = server.process.channel.receive()
        for report in reports:
            if isinstance(report, Ready):
                self._note_ready(server, report)
        return reports

    def _note_ready(self, server: LocalServer, report: Ready) -> None:
        _log.info("%s is ready after %.1f s", server.name, report.seconds)
        was_trial, server.is_ready = server.is_trial, True
        # On a busy machine a warm parent starts for longer than it may then be idle.
        server.idle_since = time.monotonic()
        self._failed_starts.pop(server.key, None)
        if server.generation is not None:
            self._generations.note_passed(server.generation)
        if was_trial:
            self._take_over(server)

    def _take_over(self, server: LocalServer) -> None:
        """Give work to a generation that has passed its trial; the old one leaves with its last runner."""
        old = self._by_key.get(server.key)
        self._by_key[server.key] = server
        if old is not None:
            server.idle_since = old.idle_since
            self._let_go(old)

    def _let_go(self, server: LocalServer) -> None:
        # Not before its last runner has ended: what it was sent and has not started would be dropped.
        if not server.attempts:
            self.retire(server)

    def may_start_again(self, server: LocalServer) -> bool:
        """Claim that another server like this one, which is gone, may do better: one that never got ready gets three tries."""
        if server.is_ready or server.is_trial:
            return True
        self._failed_starts[server.key] = self._failed_starts.get(server.key, 0) + 1
        return self._failed_starts[server.key] < _START_TRIES

    def attempt_ended(self, server: LocalServer, attempt_id: str) -> None:
        """Note that a server has one runner less."""
        server.attempts.discard(attempt_id)
        self._quiet_since = time.monotonic()
        if server.generation is not None:
            self._generations.note_news(server.generation)
        if not server.attempts:
            server.idle_since = time.monotonic()
            if self._by_key.get(server.key) is not server and not server.is_retiring:
                self.retire(server)

    def advance(self, now: float) -> None:
        """Do what is due: let idle servers go, look at what tasks have imported, try new generations."""
        self._retire_idle(now)
        for server in self._learning():
            self._look(server, now)

    def _learning(self) -> list[LocalServer]:
        return [server for server in self._by_key.values() if server.generation is not None and server.is_ready]

    def _look(self, server: LocalServer, now: float) -> None:
        assert server.generation is not None
        self._generations.look(server.generation)
        due = self._trial_due_at(server.generation)
        if due is None or now < due:
            return
        self._generations.note_trial(server.generation)
        try:
            self._use(self._start(server.key, is_trial=True))
        except (OSError, AirExecutorError) as error:
            _log.warning("no new warm parent could be tried: %s", error)

    def _trial_due_at(self, generation: Generation) -> float | None:
        if any(each.is_trial for each in self.servers.values()):
            # One at a time, for all environments: it takes seconds of CPU.
            return None
        is_busy = any(each.attempts for each in self.servers.values())
        return self._generations.trial_due_at(generation, None if is_busy else self._quiet_since)

    def _retire_idle(self, now: float) -> None:
        """Let go of servers without runners whose idle time is over."""
        for server in list(self._by_key.values()):
            if not server.attempts and now >= self._retires_at(server):
                _log.info("%s retires after %.0f s without work", server.name, now - server.idle_since)
                self.retire(server)

    def next_due(self) -> float | None:
        """Return the monotonic instant at which `advance` has something to do, None if there is nothing to wait for."""
        due: list[float | None] = [self._retires_at(each) for each in self._by_key.values() if not each.attempts]
        for generation in [each.generation for each in self._learning() if each.generation is not None]:
            due += [generation.looks_at, self._trial_due_at(generation)]
        return min((instant for instant in due if instant is not None), default=None)

    def _retires_at(self, server: LocalServer) -> float:
        settings = self.settings
        is_warm = server.key.kind == "airflow"
        return server.idle_since + (settings.warm_parent_idle_s if is_warm else settings.fork_server_idle_s)

    def retire(self, server: LocalServer) -> None:
        """Give a server no more work; it leaves when its last runner has ended."""
        server.is_retiring = True
        if self._by_key.get(server.key) is server:
            del self._by_key[server.key]
        server.process.channel.finish_sending()

    def server_left(self, server: LocalServer) -> list[Report]:
        """Forget a server whose channel ended and return what it wrote to its spool."""
        self.servers.pop(server.process.pid, None)
        if self._by_key.get(server.key) is server:
            del self._by_key[server.key]
        server.process.channel.close()
        if server.generation is not None:
            self._generations.note_ended(server.generation, server.process.pid)
            serving = self._by_key.get(server.key)
            if serving is not None and serving.generation is not None:
                # After a trial that failed there is something left to try.
                self._generations.note_news(serving.generation)
        with contextlib.suppress(OSError, ValueError):
            return read_spool(server.process.spool_path)
        return []

    def discard_files(self, server: LocalServer) -> None:
        """Remove spool and log of a server of which nothing is left to read."""
        for path in (Path(server.process.spool_path), server.log_path):
            # What cannot be removed now is removed by a later manager.
            with contextlib.suppress(OSError):
                path.unlink()

    def tidy(self) -> None:
        """Remove what was learned for environments that are gone."""
        self._generations.tidy(
            each.environment for each in [server.key for server in self.servers.values()] if each.environment
        )

    def last_words(self, server: LocalServer) -> str:
        """Return the end of a server's own log, for the error of what it could not start."""
        with contextlib.suppress(OSError):
            content = server.log_path.read_bytes()[-_LAST_BYTES:]
            return content.decode("utf-8", "replace").strip()
        return ""

    def _server(self, key: ServerKey) -> LocalServer:
        server = self._by_key.get(key)
        if server is not None and self._is_outdated(server):
            del self._by_key[key]
            self._let_go(server)
            server = None
        if server is None:
            server = self._start(key)
            self._by_key[key] = server
            self._use(server)
        return server

    def _is_outdated(self, server: LocalServer) -> bool:
        if server.generation is None or not server.is_ready:
            return False
        changed = self._generations.why_outdated(server.generation)
        if changed is not None:
            _log.info("%s is renewed: %s was changed", server.name, changed)
        return changed is not None

    def _use(self, server: LocalServer) -> None:
        self.servers[server.process.pid] = server
        self._use_server(server)

    def _start(self, key: ServerKey, *, is_trial: bool = False) -> LocalServer:
        environment = load_environment(self._root, key.environment) if key.environment else None
        name = f"{key.kind}-{secrets.token_hex(6)}"
        log_path = self._root.run / f"{name}.log"
        generation = None
        if key.kind == "airflow" and key.environment is not None and environment is not None:
            # After a start that failed, without what was learned: that may be why.
            is_plain = key in self._failed_starts
            generation = self._generations.begin(
                key.environment, environment, name, is_trial=is_trial, is_plain=is_plain
            )
        process = spawn_fork_server(
            self._command(key, environment) + (generation.arguments() if generation else []),
            str(self._root.run / f"{name}.jsonl"),
            log_path=str(log_path),
            environment=with_command(environment.variables if environment else os.environ, self._command_directory),
            use_cgroups=self.settings.use_cgroups,
        )
        server = LocalServer(key, process, log_path, generation)
        _log.info("%s started", server.name)
        return server

    def _command(self, key: ServerKey, environment: Environment | None) -> list[str]:
        if key.kind == "command":
            return command_server_argv()
        if environment is None:
            raise AirExecutorError("an Airflow workload needs the environment of its scheduler; submit it with one")
        # The manager's working directory is `run/`, so that no module beside the root shadows an installed one.
        return [environment.python, "-m", _MODULES[key.kind]]
