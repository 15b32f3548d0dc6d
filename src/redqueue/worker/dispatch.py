"""From a job type to a function of the registry, with its arguments. Nothing else can be run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from redqueue.defaults import GENERIC_TASK

if TYPE_CHECKING:
    from redqueue.registry.binding import Prepared
    from redqueue.registry.registry import ServiceRegistry

_NOTHING: Final[Mapping[str, Any]] = {}


class Dispatch:
    """One worker's names: its registry's, and the built-in tasks."""

    def __init__(self, registry: ServiceRegistry) -> None:
        from redqueue.processors import generic_task
        from redqueue.tasks import pure_tasks

        self._registry = registry
        self._resolve = generic_task.resolve
        self._builtins = pure_tasks()

    def prepare(self, job_type: str, data: bytes) -> tuple[Prepared, Mapping[str, Any]]:
        """The function and its arguments, and the mapping that was passed as ``context=``.

        Raises:
            UnknownJobType: this registry doesn't know the name; a newer worker's may.
            MethodNotAllowed, InvalidArguments: the job can't be run here or anywhere.
        """
        if job_type != GENERIC_TASK:
            return self._registry.processor_binding(job_type).prepare(data), _NOTHING
        prepared, head = self._resolve(self._registry, data, self._builtins)
        return prepared, head.context or _NOTHING
