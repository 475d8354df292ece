"""A small client of Airflow's REST API: what tests, demo and benchmarks ask of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from typing import Any

import httpx

from tests.support.waiting import wait_until

FINISHED_RUN = frozenset({"success", "failed"})
FINISHED_TASK = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})

Json = dict[str, Any]


class AirflowApi:
    """Talks to one API server as its administrator."""

    def __init__(self, url: str, username: str, password: str, check: Callable[[], None] = lambda: None) -> None:
        """Prepare; nothing is sent before the first call.

        :param check: called while waiting; raises if waiting has become pointless.
        """
        self.url = url
        self._check = check
        self._login = {"username": username, "password": password}
        # The proxy of the environment is not for the loopback interface.
        self._http = httpx.Client(base_url=url, timeout=60, trust_env=False)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def call(self, method: str, path: str, **arguments: Any) -> Any:
        """Send one request and return the decoded answer.

        :raises httpx.HTTPStatusError: the answer is an error; its text is in the message.
        """
        if "Authorization" not in self._http.headers:
            answer = self._http.post("/auth/token", json=self._login)
            answer.raise_for_status()
            self._http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        for attempt in range(5):
            answer = self._http.request(method, f"/api/v2{path}", **arguments)
            # SQLite has one writer at a time; Airflow's API answers 500 when it waited too long for its turn.
            if answer.status_code != 500 or attempt == 4:
                break
            time.sleep(0.5)
        if answer.is_error:
            raise httpx.HTTPStatusError(
                f"{method} {path}: {answer.status_code} {answer.text[:2000]}", request=answer.request, response=answer
            )
        return answer.json() if answer.content else None

    def health(self) -> Json:
        """Return the components' health; all `None` while the server does not answer."""
        try:
            answer = self._http.get("/api/v2/monitor/health", timeout=5)
            return {name: (part or {}).get("status") for name, part in answer.json().items()}
        except (httpx.TransportError, ValueError):
            return {}

    def warm_up(self) -> None:
        """Make the server build its API for tasks."""
        self._http.get("/execution/health").raise_for_status()

    # --- DAGs and runs

    def wait_for_dags(self, dag_ids: Collection[str], timeout_s: float = 90) -> None:
        """Wait until the DAG processor has stored these DAGs."""

        def missing() -> list[str]:
            known = {dag["dag_id"] for dag in self._pages("/dags", "dags")}
            return sorted(set(dag_ids) - known)

        def explain() -> Any:
            self._check()
            absent = missing()
            return [] if not absent else [absent, self.import_errors()]

        wait_until(explain, lambda seen: not seen, timeout_s=timeout_s, interval_s=0.3, what="DAGs to be parsed")

    def import_errors(self) -> list[str]:
        """Return what the DAG processor could not import."""
        return [f"{e['filename']}: {e['stack_trace']}" for e in self._pages("/importErrors", "import_errors")]

    def unpause(self, dag_id: str) -> None:
        """Let runs of a DAG be scheduled."""
        self.call("PATCH", f"/dags/{dag_id}", json={"is_paused": False})

    def set_variable(self, key: str, value: str) -> None:
        """Make an Airflow Variable that is not there yet."""
        self.call("POST", "/variables", json={"key": key, "value": value})

    def trigger(self, dag_id: str, conf: Json | None = None, run_id: str | None = None) -> str:
        """Start a run of a DAG, unpausing it, and return its run id."""
        self.unpause(dag_id)
        body: Json = {"logical_date": None, "conf": conf or {}}
        if run_id is not None:
            body["dag_run_id"] = run_id
        answer: Json = self.call("POST", f"/dags/{dag_id}/dagRuns", json=body)
        return str(answer["dag_run_id"])

    def run(self, dag_id: str, run_id: str) -> Json:
        """Return one DAG run."""
        answer: Json = self.call("GET", f"/dags/{dag_id}/dagRuns/{run_id}")
        return answer

    def wait_for_run(
        self, dag_id: str, run_id: str, states: Collection[str] = FINISHED_RUN, timeout_s: float = 120
    ) -> str:
        """Wait until a run has one of `states` and return that state."""

        def look() -> tuple[str, Any]:
            self._check()
            state = str(self.run(dag_id, run_id)["state"])
            return state, None if state in states else self.states(dag_id, run_id)

        return wait_until(
            look, lambda seen: seen[0] in states, timeout_s=timeout_s, interval_s=0.25, what=f"run {run_id} of {dag_id}"
        )[0]

    def wait_for_success(self, dag_id: str, run_id: str, timeout_s: float = 120) -> None:
        """Wait until a run has succeeded.

        :raises AssertionError: it has failed; the message has the end of the logs of the task instances to blame.
        """
        state = self.wait_for_run(dag_id, run_id, timeout_s=timeout_s)
        if state == "success":
            return
        lines = [f"run {run_id} of {dag_id} is {state}: {self.states(dag_id, run_id)}"]
        for instance in self.task_instances(dag_id, run_id):
            if instance["state"] == "failed":
                name, attempt, index = instance["task_id"], instance["try_number"], instance["map_index"]
                log = self.log(dag_id, run_id, name, attempt, index)
                lines.append(f"{name}[{index}], try {attempt}:\n{log[-4000:]}")
        raise AssertionError("\n".join(lines))

    # --- task instances

    def task_instances(self, dag_id: str, run_id: str) -> list[Json]:
        """Return all task instances of a run, the mapped ones singly."""
        return list(self._pages(f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances", "task_instances"))

    def states(self, dag_id: str, run_id: str) -> dict[str, str | None]:
        """Return the state of each task instance; mapped ones are named `task[index]`."""
        found = {}
        for instance in self.task_instances(dag_id, run_id):
            index = instance["map_index"]
            found[instance["task_id"] + (f"[{index}]" if index >= 0 else "")] = instance["state"]
        return found

    def task_instance(self, dag_id: str, run_id: str, task_id: str) -> Json:
        """Return one task instance that is not mapped."""
        answer: Json = self.call("GET", f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}")
        return answer

    def wait_for_task(
        self,
        dag_id: str,
        run_id: str,
        task_id: str,
        states: Collection[str] = FINISHED_TASK,
        timeout_s: float = 120,
        also: Callable[[Json], object] = bool,
    ) -> Json:
        """Wait until a task instance has one of `states` (and `also` holds) and return it."""

        def look() -> Json:
            self._check()
            return self.task_instance(dag_id, run_id, task_id)

        return wait_until(
            look,
            lambda seen: seen["state"] in states and also(seen),
            timeout_s=timeout_s,
            interval_s=0.25,
            what=f"{dag_id}.{task_id} to be one of {sorted(states)}",
        )

    def clear(self, dag_id: str, run_id: str, task_ids: list[str]) -> None:
        """Clear task instances, running ones too: Airflow runs them anew."""
        body = {"dry_run": False, "only_failed": False, "task_ids": task_ids, "dag_run_id": run_id}
        self.call("POST", f"/dags/{dag_id}/clearTaskInstances", json=body)

    def mark(self, dag_id: str, run_id: str, task_id: str, state: str) -> None:
        """Give a task instance a state, as a person does in the web UI."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}"
        self.call("PATCH", path, json={"new_state": state})

    def log(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1, map_index: int = -1) -> str:
        """Return the log of one try of a task instance, as text."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{try_number}"
        query = {"full_content": "true", "map_index": map_index}
        answer = self.call("GET", path, params=query, headers={"Accept": "application/json"})
        return "\n".join(
            part if isinstance(part, str) else str(part.get("event", part)) + _error_text(part)
            for part in answer["content"]
        )

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value", map_index: int = -1) -> Any:
        """Return the value of an XCom."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}"
        return self.call("GET", path, params={"map_index": map_index, "deserialize": "false"})["value"]

    def events(self, dag_id: str, run_id: str, task_id: str) -> list[Json]:
        """Return the rows of the event log that name a task instance."""
        query = {"dag_id": dag_id, "run_id": run_id, "task_id": task_id}
        return list(self._pages("/eventLogs", "event_logs", query))

    def _pages(self, path: str, key: str, query: Json | None = None) -> Iterator[Json]:
        offset = 0
        while True:
            page = self.call("GET", path, params={"limit": 100, "offset": offset, **(query or {})})
            yield from page[key]
            offset += len(page[key])
            if not page[key] or offset >= page["total_entries"]:
                return


def _error_text(part: Json) -> str:
    details = part.get("error_detail") or []
    return "".join(f"\n{detail.get('exc_type')}: {detail.get('exc_value')}" for detail in details)
