"""custom_async_task: an application's coroutines, each by the id that it was given."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import msgspec

from redqueue.context import INJECTED, JobContext
from redqueue.errors import Discard, RegistrationError
from redqueue.registry.arguments import described
from redqueue.registry.binding import Binding, bind_processor, check_processor, is_async
from redqueue.registry.names import check_name, quoted

Routine: TypeAlias = Callable[..., Awaitable[Any]]
"""``async def routine(data, context: JobContext)``; the data's annotation is what it is checked against."""


class CustomAsyncTask:
    """``custom_async_task(task_id, data)`` runs the routine that was registered under the id.

    Raises:
        RegistrationError: a routine isn't async, or takes no data.
        InvalidName: of an id.
    """

    def __init__(self, routines: Mapping[str, Routine]) -> None:
        for task_id, routine in routines.items():
            check_name("routine", task_id)
            if not is_async(routine):
                raise RegistrationError(f"routine {task_id!r}: {described(routine)} is not async; make it `async def`")
        self._entries = {task_id: check_processor(routine, {}) for task_id, routine in routines.items()}

    async def __call__(self, task_id: str, data: Any = None, context: JobContext = INJECTED) -> Any:
        """Run it with the data; its value is the result.

        Raises:
            Discard: there is no such routine here.
            InvalidArguments: the data doesn't fit its annotation; it was not entered.
        """
        binding = self._bindings.get(task_id)
        if binding is None:
            known = ", ".join(sorted(self._bindings)) or "none"
            raise Discard(f"custom_async_task: there is no routine {quoted(task_id)}; there are: {known}")
        running: Any = binding.prepare(msgspec.json.encode(data)).call(context)
        return await running

    @functools.cached_property
    def _bindings(self) -> Mapping[str, Binding]:
        # At the first job, as a registry does when a worker starts: by then every module is imported.
        return {task_id: bind_processor(task_id, entry) for task_id, entry in self._entries.items()}
