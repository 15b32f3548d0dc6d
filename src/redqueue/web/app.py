"""The ASGI app: a job's status, a queue's numbers and health, adding where it is allowed, and the script for pages."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from importlib import resources
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import quote

from redqueue.client.aio.service import AsyncJobQueueService
from redqueue.core.generic import job_options
from redqueue.errors import ConfigurationError, InvalidName, MissingExtra

try:
    from starlette.requests import Request
    from starlette.responses import Response
except ImportError as error:
    raise MissingExtra("web", "serving jobs over HTTP") from error

from redqueue.options import check_job_id, check_queue_name
from redqueue.web.adding import KEPT, id_of, read_data
from redqueue.web.answers import cached_response, etag_of, json_response, known_to
from redqueue.web.changes import Changes, Seen
from redqueue.web.permission import Action, Authorize, Permission
from redqueue.web.problems import GONE, Problem, missing, response_of
from redqueue.web.waiting import ClientLeft, wait_of, while_connected

MOST_WAITING: Final = 10_000
"""Clients of one app that wait at a time; others are answered at once."""

Scope: TypeAlias = Any
Receive: TypeAlias = Callable[[], Awaitable[Any]]
Send: TypeAlias = Callable[[Any], Awaitable[None]]

_PREFIX: Final = re.compile(r"(/[A-Za-z0-9_.~-]+)*")


class Route(NamedTuple):
    """One thing to ask for.

    Attributes:
        action: what `authorize` is asked; None for what anybody may read.
        answer: the method of the app that does.
    """

    method: str
    path: str
    action: Action | None
    answer: Callable[[JobsApp, Request], Awaitable[Response]]

    def match(self, path: str) -> dict[str, str] | None:
        """The names in a path; None when the path is another one's."""
        names, parts = self.path.strip("/").split("/"), path.strip("/").split("/")
        if len(names) != len(parts):
            return None
        found = {}
        for name, part in zip(names, parts, strict=True):
            if name.startswith("{") and part:
                found[name.strip("{}")] = part
            elif name != part:
                return None
        return found


class JobsApp:
    """What `jobs_app` makes. It listens on nothing, and works in any event loop.

    Attributes:
        routes: all that it answers.
    """

    def __init__(
        self,
        service: AsyncJobQueueService,
        *,
        authorize: Authorize,
        allow_add: Collection[str] = (),
        prefix: str = "",
    ) -> None:
        if not isinstance(service, AsyncJobQueueService):
            raise ConfigurationError(
                f"jobs_app takes an AsyncJobQueueService, not {type(service).__name__}: "
                "an app that is called by tasks must not block them"
            )
        if not isinstance(prefix, str) or not _PREFIX.fullmatch(prefix):
            raise ConfigurationError(f'prefix must be a path like "/api/jobs", not {prefix!r}')
        if isinstance(allow_add, str):
            raise ConfigurationError(f"allow_add must be a collection of job types: [{allow_add!r}]")
        self.prefix = prefix
        self._service = service
        self._permission = Permission(authorize)
        self._addable = frozenset(check_queue_name(name) for name in allow_add)
        self._changes: dict[asyncio.AbstractEventLoop, Changes] = {}
        self._waiting = 0
        self._js = resources.files("redqueue.web").joinpath("job-status.js").read_bytes()
        self._js_etag = etag_of(self._js)

    def status_url(self, job_type: str, job_id: str) -> str:
        """Where to ask for a job's status: the path, below `prefix`.

        Raises:
            InvalidName: of a type or an id; the ids "." and ".." can't be in a URL.
        """
        if check_job_id(job_id) in (".", ".."):
            raise InvalidName(f"the job id {job_id!r} can't be in a URL: give the job another one")
        return f"{self.prefix}/{check_queue_name(job_type)}/{quote(job_id, safe=':@')}/status"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface; below a mount, or not: then `prefix` is taken off the path."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        else:
            response = await self._answer(scope, receive)
            await response(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        try:
            route, names = self._find(scope)
            return await route.answer(self, Request({**scope, "path_params": names}, receive))
        except ClientLeft:
            return Response(status_code=499)
        except Exception as error:
            return response_of(error)

    def _find(self, scope: Scope) -> tuple[Route, dict[str, str]]:
        method, other = scope["method"], set[str]()
        for path in self._readings(scope):
            for route in self.routes:
                if (names := route.match(path)) is None:
                    continue
                if method == route.method or (method == "HEAD" and route.method == "GET"):
                    return route, names
                other.add("HEAD, GET" if route.method == "GET" else route.method)
        if other:
            allowed = ", ".join(sorted(other))
            raise Problem(405, f"the methods here are {allowed}", {"Allow": allowed})
        raise Problem(404, "there is nothing here; a job's status is at /{type}/{job_id}/status")

    def _readings(self, scope: Scope) -> list[str]:
        """What the path below the mount can be, the likeliest first.

        Frameworks leave the mount's own part in the path, or take it off; then a job type may have the mount's name.
        """
        path: str = scope["path"]
        root: str = scope.get("root_path", "")
        readings = [path]
        mounted = _is_below(root, path)
        if mounted:
            readings.insert(0, path[len(root) :])
        if _is_below(self.prefix, readings[0]) and not (mounted and root.endswith(self.prefix)):
            readings.insert(0, readings[0][len(self.prefix) :])
        return readings

    async def _script(self, request: Request) -> Response:
        return cached_response(request, self._js, self._js_etag, media_type="text/javascript")

    async def _stats(self, request: Request) -> Response:
        job_type = check_queue_name(request.path_params["type"])
        await self._permission.check(request, "stats", job_type)
        return json_response((await self._service.get_queue_stats(job_type)).to_wire())

    async def _health(self, request: Request) -> Response:
        job_type = check_queue_name(request.path_params["type"])
        await self._permission.check(request, "health", job_type)
        health = await self._service.get_queue_health(job_type)
        return json_response(health.to_wire(), 200 if health.healthy else 503)

    async def _status(self, request: Request) -> Response:
        job_type = check_queue_name(request.path_params["type"])
        job_id = check_job_id(request.path_params["job_id"])
        wait = wait_of(request)
        changes = self._here()
        seen = await self._allowed(request, await changes.look(job_type, job_id))
        news = "if-none-match" in request.headers and not known_to(request, seen.etag)
        if wait and seen.moves and not news and self._waiting < MOST_WAITING:
            later = await self._wait(request, changes.next(job_type, job_id, seen.etag, wait))
            if later.status is None:
                raise Problem(404, GONE)  # the client has just been allowed to know of it
            seen = seen if later.etag == seen.etag else await self._allowed(request, later)
        return cached_response(request, seen.body, seen.etag, media_type="application/json")

    async def _wait(self, request: Request, change: Coroutine[Any, Any, Seen]) -> Seen:
        self._waiting += 1
        try:
            return await while_connected(request, change)
        finally:
            self._waiting -= 1

    def _here(self) -> Changes:
        """What is shared by those who ask in this event loop; a served app has one."""
        loop = asyncio.get_running_loop()
        if loop not in self._changes:
            self._changes = {one: changes for one, changes in self._changes.items() if not one.is_closed()}
            self._changes[loop] = Changes(self._service)
        return self._changes[loop]

    async def _allowed(self, request: Request, seen: Seen) -> Seen:
        await self._permission.check(request, "status", request.path_params["type"], seen.status)
        if seen.status is None:
            raise missing()
        return seen

    async def _add(self, request: Request) -> Response:
        job_type = check_queue_name(request.path_params["type"])
        if job_type not in self._addable:
            raise Problem(403, "jobs of this type are not added over HTTP")
        data, request = await read_data(request)
        await self._permission.check(request, "add", job_type)
        job_id = await self._store(request, job_type, data)
        where = _above(request, self.prefix) + self.status_url(job_type, job_id)
        wire = {"jobId": job_id, "jobType": job_type, "checkStatusAt": where}
        return json_response(wire, 202, headers={"Location": where})

    async def _store(self, request: Request, job_type: str, data: object) -> str:
        """Store the job; answers its id.

        Raises:
            Problem: 409, the Idempotency-Key's job is one that this client may not see.
        """
        options: Any = {**KEPT, **job_options(self._service._options)}
        key = request.headers.get("idempotency-key")
        if key is not None:
            self.status_url(job_type, key)  # refuses what can't be asked for
            options["job_id"] = id_of(key, data)
        job = await self._service.queue(job_type).add(job_type, data, **options)
        if key is not None and job.answer == "duplicate":
            status = await self._service.get_job_status(job_type, job.id)
            if not await self._permission.allows(request, "status", job_type, status):
                raise Problem(409, "nothing was added: the Idempotency-Key was used for another job; draw a random one")
        return job.id

    routes: Final[Sequence[Route]] = (
        Route("GET", "/job-status.js", None, _script),
        Route("GET", "/{type}/stats", "stats", _stats),
        Route("GET", "/{type}/health", "health", _health),
        Route("GET", "/{type}/{job_id}/status", "status", _status),
        Route("POST", "/{type}", "add", _add),
    )


def jobs_app(
    service: AsyncJobQueueService,
    *,
    authorize: Authorize,
    allow_add: Collection[str] = (),
    prefix: str = "",
) -> JobsApp:
    """An ASGI app that tells of jobs, to be mounted in yours; it listens on nothing itself.

    It answers ``GET /{type}/{job_id}/status``, ``GET /{type}/stats``, ``GET /{type}/health``, ``POST /{type}`` and
    ``GET /job-status.js``. A status has an ETag, and is waited for by ``?wait=20``, at most 60 seconds: then it is
    answered once it differs from the one that the client has, or the job ended.

    Args:
        service: opens nothing before the first request, and is yours to close.
        authorize: asked with the request, the action ("status", "stats", "health" or "add"), the job type and, for
            "status", the `JobStatus`, or None of a job that isn't known. Only True allows; it may raise Starlette's
            HTTPException. A coroutine function, or a plain one, which runs in a thread. For "add" the request's body
            can be read, and is at most 1 MiB; "status" follows when the Idempotency-Key has a job already.
        allow_add: the job types that may be added at all, none by default.
        prefix: below which path it is mounted, for `JobsApp.status_url`, and taken off when it isn't.
    Raises:
        ConfigurationError: another kind of service, an `authorize` that can't be called, or a prefix that is no path.
        InvalidName: in `allow_add`.
    """
    return JobsApp(service, authorize=authorize, allow_add=allow_add, prefix=prefix)


def _is_below(folder: str, path: str) -> bool:
    return folder != "" and f"{path}/".startswith(f"{folder}/")


def _above(request: Request, prefix: str) -> str:
    """What comes before the prefix in this request's path: of a proxy, or of the mount when there is no prefix."""
    root: str = request.scope.get("root_path", "")
    return root.removesuffix(prefix)


async def _live(receive: Receive, send: Send) -> None:
    """The lifespan protocol, for who serves this app alone: there is nothing to open or close."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
