"""One handle for three users of Redis's: each call is made by the least one that may make it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from redqueue.core.acl import Role

LEAST: Final[Mapping[str, Role]] = MappingProxyType(
    {
        **dict.fromkeys(("add", "add_many", "cancel", "job"), "producer"),
        **dict.fromkeys(("add_job", "execute", "execute_service_method", "execute_task"), "producer"),
        **dict.fromkeys(("audit", "events", "get_data", "get_logs", "get_stats", "get_status", "jobs"), "reader"),
        **dict.fromkeys(("get_job_status", "get_queue_health", "get_queue_stats"), "reader"),
    }
)
"""By the method's name; what is not here is the worker's. A job's own methods are those of a producer."""

FURTHER: Final = frozenset({"queue", "with_options"})
"""Methods that answer another handle."""


class ByLeastUser:
    """A queue or service of each user, as one."""

    def __init__(self, handles: Mapping[Role, Any]) -> None:
        self._handles = handles

    def __getattr__(self, name: str) -> Any:
        if name not in FURTHER:
            return getattr(self._handles[LEAST.get(name, "worker")], name)

        def make(*arguments: Any, **options: Any) -> ByLeastUser:
            made: dict[Role, Any] = {
                role: getattr(handle, name)(*arguments, **options) for role, handle in self._handles.items()
            }
            return ByLeastUser(made)

        return make

    def close(self) -> Any:
        """All of them."""
        closing = [handle.close() for handle in self._handles.values()]
        return asyncio.gather(*closing) if inspect.isawaitable(closing[0]) else None
