"""All that a registry holds, compiled at once when its first worker starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from redqueue.registry.binding import (
    Binding,
    Entry,
    Portable,
    ProcessorEntry,
    bind_call,
    bind_processor,
    portable_of,
)
from redqueue.registry.methods import Service
from redqueue.registry.resources import Resource, bind_resources, check_injections


@dataclass(frozen=True, slots=True)
class Bound:
    """Made once, never changed, so threads may read it.

    Attributes:
        portables: what child processes run, by the key of its binding.
        services: by name, then by method.
    """

    resources: tuple[Resource, ...]
    portables: Mapping[str, Portable]
    processors: Mapping[str, Binding]
    services: Mapping[str, Mapping[str, Binding]]
    tasks: Mapping[str, Binding]


def bind_all(
    resources: Sequence[Callable[..., Any]],
    processors: Mapping[str, ProcessorEntry],
    services: Mapping[str, Service],
    tasks: Mapping[str, Entry],
) -> Bound:
    """Resolve every annotation and compile.

    Raises:
        RegistrationError: names the function and the parameter.
    """
    opened = bind_resources(resources)
    portables: dict[str, Portable] = {}

    def checked(binding: Binding, target: object) -> Binding:
        check_injections(binding, {one.kind: one for one in opened})
        if binding.execution == "process":
            portables[binding.key] = portable_of(binding, target)
        return binding

    def called(key: str, name: str, entry: Entry) -> Binding:
        return checked(bind_call(key, name, entry), entry.function)

    return Bound(
        opened,
        MappingProxyType(portables),
        {
            job_type: checked(bind_processor(f"processor {job_type}", entry), entry.processor)
            for job_type, entry in processors.items()
        },
        {
            name: MappingProxyType(
                {
                    method: called(f"service {name}.{method}", f"{name}.{method}", entry)
                    for method, entry in service.methods.items()
                }
            )
            for name, service in services.items()
        },
        MappingProxyType({name: called(f"task {name}", name, entry) for name, entry in tasks.items()}),
    )
