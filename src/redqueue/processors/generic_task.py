"""The generic-task job: its data names a service's method or a task, and carries the arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from redqueue.defaults import GENERIC_TASK
from redqueue.errors import InvalidArguments, MethodNotAllowed, UnknownJobType
from redqueue.registry.binding import Binding, Prepared
from redqueue.registry.decoding import decoder_of, refuse_bombs
from redqueue.registry.names import MAX_NAME, quoted
from redqueue.registry.registry import ServiceRegistry


class GenericTaskHead(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """`GenericTaskJobData` as a worker reads it: the parameters stay encoded until it is known what they are for."""

    label: str
    function: str | None = None
    service: str | None = None
    method: str | None = None
    parameters: msgspec.Raw = msgspec.Raw(b"[]")
    context: dict[str, Any] | None = None
    sub_account_id: str | None = None
    user_id: str | None = None


def resolve(
    registry: ServiceRegistry, raw: bytes | msgspec.Raw, builtins: Mapping[str, Binding]
) -> tuple[Prepared, GenericTaskHead]:
    """Find what one job names, in the registry only, and decode its arguments. Nothing is entered.

    Args:
        raw: the job's data.
        builtins: tasks that are known when the registry has none of the name.
    Raises:
        UnknownJobType: no such service or task here; a newer worker may have it.
        MethodNotAllowed: the service doesn't offer that method.
        InvalidArguments: they don't fit, or the data names neither a method nor a task, or both.
    """
    raw = bytes(raw)
    refuse_bombs(GENERIC_TASK, raw)
    head: GenericTaskHead = _decode_head(raw)
    binding = _binding(registry, head, builtins)
    parameters = bytes(head.parameters)
    return Prepared(binding, *binding.decode(parameters), parameters), head


_decode_head = decoder_of(GENERIC_TASK, GenericTaskHead)


def _binding(registry: ServiceRegistry, head: GenericTaskHead, builtins: Mapping[str, Binding]) -> Binding:
    match head.function, head.service, head.method:
        case None, str(service), str(method):
            return _method(registry, service, method)
        case str(function), None, None:
            return _task(registry, function, builtins)
        case _:
            raise InvalidArguments(f"{GENERIC_TASK}: $: name either function, or service and method")


def _method(registry: ServiceRegistry, service: str, method: str) -> Binding:
    methods = registry.service_bindings(service)
    if methods is None:
        raise UnknownJobType(
            f"service {quoted(service)} is registered in no worker that saw this job: register it under that name, or "
            "run a worker that has it"
        )
    binding = methods.get(method)
    if binding is None:
        name = f"{service}.{method[:MAX_NAME]}"
        raise MethodNotAllowed(
            f"Service method {quoted(name, 2 * MAX_NAME)} not found in registry; "
            f"it has: {', '.join(sorted(methods)) or 'none'}"
        )
    return binding


def _task(registry: ServiceRegistry, function: str, builtins: Mapping[str, Binding]) -> Binding:
    binding = registry.task_bindings().get(function) or builtins.get(function)
    if binding is None:
        raise UnknownJobType(
            f"task {quoted(function)} is registered in no worker that saw this job: register it under that name, or "
            "run a worker that has it"
        )
    return binding
