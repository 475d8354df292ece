"""The routes: what is asked, who may ask, and where the answer comes from."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import PlainTextResponse, StreamingResponse

from air_executor.client import AirExecutorClient, JobView, TaskView
from air_executor.core.explanation import JobFacts, explain_task
from air_executor.core.states import JobState, TaskStatus
from air_executor.errors import JobNotFoundError
from air_executor.store.records import utc_now
from air_executor.web import answers
from air_executor.web.feeds import Feeds
from air_executor.web.log_slices import read_slice
from air_executor.web.reader import JobReader
from air_executor.web.route import NO_STORE, PiecesResponse, answer_json, make_route_class
from air_executor.web.schema import model_of
from air_executor.web.selection import (
    TaskOrder,
    count_states,
    count_statuses,
    make_timeline,
    match_jobs,
    match_tasks,
    sort_tasks,
)

MayRead = Callable[[JobView], bool]

_MAX_PAGE = 1000
_MAX_LOG_BYTES = 1024 * 1024

Offset = Annotated[int, Query(ge=0, le=2**53, description="How many to leave out at the beginning.")]
Limit = Annotated[int, Query(ge=0, le=_MAX_PAGE)]
Text = Annotated[str | None, Query(max_length=500)]


async def may_read_all() -> MayRead:
    """Let everybody who may ask at all read every job."""
    # Not a plain function: FastAPI would send each request through a thread for it.
    return lambda _: True


def make_router(
    find_client: Callable[[], AirExecutorClient],
    *,
    may_read: Callable[..., Any] = may_read_all,
    feeds: Feeds | None = None,
) -> APIRouter:
    """Return the routes for a FastAPI application.

    :param find_client: called once, at the first request, in a thread.
    :param may_read: a FastAPI dependency, called for every request, that refuses it (by an HTTPException) or returns a
        claim about a job: whether who asks may read it. A job that they may not read is, for them, not there.
    :param feeds: what holds the event streams; whoever stops the server closes it.
    """
    streams = feeds or Feeds()
    shelf = _Shelf(find_client)
    asked = Depends(may_read)
    router = APIRouter(
        route_class=make_route_class(shelf.hide_paths),
        dependencies=[asked],
        responses={code: {"model": model_of(answers.ErrorAnswer)} for code in (400, 404, 422)},
    )

    def find(name: str, may: MayRead) -> JobView:
        # The same words for a job that is not there and for one that may not be read: they tell nobody which it is.
        not_found = JobNotFoundError(f"there is no job {name}: `air-executor jobs` lists them")
        try:
            job = shelf.reader.job(name)
        except JobNotFoundError:
            raise not_found from None
        if not may(job):
            raise not_found
        return job

    def find_task(name: str, task_id: str, may: MayRead) -> tuple[JobView, dict[str, TaskView], TaskView]:
        job = find(name, may)
        tasks = {task.id: task for task in shelf.reader.tasks(name)}
        if task_id not in tasks:
            raise JobNotFoundError(f"job {name} has no task {task_id!r}: GET /jobs/{name}/tasks lists them")
        return job, tasks, tasks[task_id]

    @_get(router, "/jobs", answers.JobList)
    def list_jobs(
        state: Annotated[list[JobState] | None, Query(description="May be given several times.")] = None,
        name: Annotated[str | None, Query(max_length=500, description="A glob, as nightly-*.")] = None,
        q: Text = None,
        label: Annotated[list[str] | None, Query(max_length=20, description="KEY:VALUE; all must match.")] = None,
        offset: Offset = 0,
        limit: Limit = 50,
        may: MayRead = asked,
    ) -> Response:
        """List jobs, the newest change first; with a label also the newest archived ones."""
        jobs = shelf.reader.jobs(with_archived=bool(label))
        matching = [job for job in match_jobs(jobs, name, q, label or []) if may(job)]
        chosen = [job for job in matching if not state or job.state in state]
        page = [answers.summarise(job, shelf.reader.progress(job)) for job in chosen[offset : offset + limit]]
        return _encoded(answers.JobList(jobs=page, total=len(chosen), counts=count_states(matching)))

    @_get(router, "/jobs/{name}", answers.JobSummary)
    def read_job(name: str, may: MayRead = asked) -> Response:
        """Return one job, also an archived one."""
        job = find(name, may)
        return _encoded(answers.summarise(job, shelf.reader.progress(job)))

    @_get(router, "/jobs/{name}/progress", answers.JobProgress)
    def read_progress(name: str, tasks: bool = True, may: MayRead = asked) -> Response:
        """Return how far a job is, and its tasks unless `tasks=false`."""
        # The job first: when it is over, what its tasks say after that is final.
        job = find(name, may)
        content = msgspec.json.encode(answers.show_progress(job, shelf.reader.progress(job)))
        if tasks:
            return PiecesResponse((content[:-1] + b',"tasks":', shelf.reader.tasks_json(name), b"}"))
        return answer_json(content)

    @_get(router, "/jobs/{name}/tasks", answers.TaskList)
    def list_tasks(
        name: str,
        status: Annotated[list[TaskStatus] | None, Query(description="May be given several times.")] = None,
        q: Text = None,
        order: TaskOrder = TaskOrder.POSITION,
        descending: bool = False,
        offset: Offset = 0,
        limit: Limit = 100,
        may: MayRead = asked,
    ) -> Response:
        """List the tasks of a job."""
        find(name, may)
        matching = match_tasks(shelf.reader.tasks(name), q)
        chosen = [task for task in matching if task.status in status] if status else matching
        page = sort_tasks(chosen, order, utc_now(), descending=descending)[offset : offset + limit]
        return _encoded(answers.TaskList(tasks=list(page), total=len(chosen), counts=count_statuses(matching)))

    def explain(name: str, task_id: str, may: MayRead) -> Response:
        job, tasks, task = find_task(name, task_id, may)
        facts = JobFacts(job.state, job.error, job.options.max_parallel)
        reasons = explain_task(task, tasks, facts, shelf.reader.client.manager_facts(job), utc_now())
        lines = [each.text if each.remedy is None else f"{each.text}; {each.remedy}" for each in reasons]
        fields = {field: getattr(task, field) for field in task.__struct_fields__}
        return _encoded(answers.TaskDetails(**fields, explanation="\n".join(lines)))

    @_get(router, "/jobs/{name}/tasks/{task_id:path}/log")
    def read_log(
        request: Request,
        name: str,
        task_id: str,
        attempt: Annotated[int | None, Query(ge=1, description="Default: the newest.")] = None,
        offset: Annotated[int, Query(ge=-(2**53), le=2**53, description="A negative one counts from the end.")] = 0,
        limit: Annotated[int, Query(ge=0, le=_MAX_LOG_BYTES)] = 65536,
        may: MayRead = asked,
    ) -> Response:
        """Return a part of an attempt's output; X-Next-Offset says where the next part begins."""
        if request.scope.get("raw_path", b"").lower().endswith(b"%2flog"):
            # The id of a task may hold slashes, and so end like the address of a log.
            return explain(name, f"{task_id}/log", may)
        task = find_task(name, task_id, may)[2]
        number = attempt or task.attempt
        if number > task.attempt:
            raise JobNotFoundError(
                f"task {task_id!r} of job {name} has no attempt {number}: its newest is {task.attempt}"
            )
        part = read_slice(shelf.reader.client.log_path(name, task_id, number), offset, limit)
        positions = {"X-Log-Size": part.size, "X-Next-Offset": part.next_offset, "X-Attempt": number}
        headers = {**NO_STORE, **{key: str(value) for key, value in positions.items()}}
        return Response(part.content, headers=headers, media_type="text/plain")

    @_get(router, "/jobs/{name}/tasks/{task_id:path}", answers.TaskDetails)
    def read_task(name: str, task_id: str, may: MayRead = asked) -> Response:
        """Return one task, and in `explanation` why it has not run or how it ended."""
        return explain(name, task_id, may)

    @_get(router, "/jobs/{name}/timeline", answers.Timeline)
    def read_timeline(
        name: str,
        limit: Annotated[int, Query(ge=2, le=10_000)] = 2000,
        may: MayRead = asked,
    ) -> Response:
        """Return when tasks began and ended, in order of start."""
        find(name, may)
        return _encoded(make_timeline(shelf.reader.tasks(name), limit))

    @router.get(
        "/jobs/{name}/events",
        response_class=StreamingResponse,
        responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
    )
    def follow_job(name: str, may: MayRead = asked) -> StreamingResponse:
        """Stream events: `progress` at once and whenever it changed, `end` when the job is over."""
        find(name, may)
        streams.check_room(name)
        events: AsyncIterator[bytes] = streams.follow(shelf.reader, name)
        # The second header keeps a proxy from holding events back.
        return StreamingResponse(
            events, headers={**NO_STORE, "X-Accel-Buffering": "no"}, media_type="text/event-stream"
        )

    @_get(router, "/manager", answers.ManagerAnswer)
    def read_manager() -> Response:
        """Return what the manager does."""
        client = shelf.reader.client
        status = client.manager_status()
        if status is None:
            return _encoded(answers.ManagerAnswer(running=client.manager_is_running()))
        return _encoded(
            answers.ManagerAnswer(
                running=True,
                pid=status.pid,
                started_at=status.started_at,
                slots=status.slots,
                attempts=status.running,
                attempts_announced=status.running_announced,
                jobs=status.jobs,
                is_draining=status.is_draining,
            )
        )

    return router


class _Shelf:
    """Holds the reader, made when it is first needed."""

    def __init__(self, find_client: Callable[[], AirExecutorClient]) -> None:
        self._find_client = find_client
        self._reader: JobReader | None = None
        self._lock = threading.Lock()

    @property
    def reader(self) -> JobReader:
        """Return the reader.

        :raises RootError: the base path cannot be used.
        """
        with self._lock:
            if self._reader is None:
                self._reader = JobReader(self._find_client())
            return self._reader

    def hide_paths(self, text: str) -> str:
        """Return a message without where the base path lies."""
        return text if self._reader is None else self._reader.hide_paths(text)


def _get(router: APIRouter, path: str, kind: type[msgspec.Struct] | None = None) -> Callable[[Any], Any]:
    """Add a route for GET that answers this kind of JSON, else text, and the same for HEAD."""

    def add(endpoint: Callable[..., Response]) -> Callable[..., Response]:
        if kind is None:
            router.add_api_route(path, endpoint, response_class=PlainTextResponse)
        else:
            router.add_api_route(path, endpoint, response_model=model_of(kind))
        router.add_api_route(path, endpoint, methods=["HEAD"], response_model=None, include_in_schema=False)
        return endpoint

    return add


def _encoded(answer: msgspec.Struct) -> Response:
    return answer_json(msgspec.json.encode(answer))
