"""Who may see and do what: the application's decision, asked before anything is told."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Literal, TypeAlias

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from redqueue.errors import ConfigurationError
from redqueue.records import JobStatus
from redqueue.web.problems import Problem, missing

Action: TypeAlias = Literal["status", "stats", "health", "add"]
Authorize: TypeAlias = Callable[[Request, Action, str, JobStatus | None], bool | Awaitable[bool]]


class Permission:
    """Asks `authorize`, and refuses whatever it doesn't allow by True.

    A plain function runs in a thread, so it may ask a database.

    Raises:
        ConfigurationError: it can't be called.
    """

    __slots__ = ("_authorize", "_is_async")

    def __init__(self, authorize: Authorize) -> None:
        if not callable(authorize):
            raise ConfigurationError(
                "authorize must be a function of (request, action, type, status) that returns True for what is allowed,"
                f" not {type(authorize).__name__}"
            )
        self._authorize = authorize
        self._is_async = inspect.iscoroutinefunction(authorize) or inspect.iscoroutinefunction(
            getattr(authorize, "__call__", None)  # noqa: B004 - of an object: is it a coroutine function?
        )

    async def check(self, request: Request, action: Action, job_type: str, status: JobStatus | None = None) -> None:
        """Return when it is allowed.

        Raises:
            Problem: 403; for "status" 404, in the words for a job that isn't there, so that ids can't be probed.
            Exception: what `authorize` raised.
        """
        if await self.allows(request, action, job_type, status):
            return
        raise missing() if action == "status" else Problem(403, "not allowed")

    async def allows(self, request: Request, action: Action, job_type: str, status: JobStatus | None = None) -> bool:
        """Whether it is allowed. What `authorize` raises is raised."""
        if self._is_async:
            answer = self._authorize(request, action, job_type, status)
        else:
            answer = await run_in_threadpool(self._authorize, request, action, job_type, status)
        allowed = await answer if inspect.isawaitable(answer) else answer
        if allowed is not None and not isinstance(allowed, bool):
            raise TypeError(f"authorize must return True or False, not {type(allowed).__name__}: nothing was allowed")
        return allowed is True
