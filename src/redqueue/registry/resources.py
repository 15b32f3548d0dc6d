"""What a worker opens once and hands to the functions that ask for it: connections, clients, models."""

from __future__ import annotations

import collections.abc
import inspect
import logging
import typing
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from redqueue.context import JobContext
from redqueue.errors import RegistrationError
from redqueue.registry.arguments import (
    bare,
    described,
    innermost,
    parameter_at,
    parameters_of,
    resolved,
    shown_type,
)
from redqueue.registry.binding import Binding, check_sendable

_PLAIN: Final = (collections.abc.Iterator, collections.abc.Generator)
_ASYNC: Final = (collections.abc.AsyncIterator, collections.abc.AsyncGenerator)
_ENDED: Final = object()
_log: Final = logging.getLogger("redqueue.registry")


@dataclass(frozen=True, slots=True)
class Resource:
    """A generator function that yields one thing, which is open until the generator goes on.

    Attributes:
        name: for messages: module and function.
        kind: the type that it yields, by which it is injected.
    """

    name: str
    kind: Any
    function: Callable[[], Iterator[object] | AsyncIterator[object]]
    is_async: bool


def check_resource(function: Callable[..., object]) -> None:
    """What can be told before annotations are resolved.

    Raises:
        RegistrationError: no generator function, or it takes parameters.
    """
    if not (inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)):
        raise RegistrationError(
            f"{described(function)} doesn't yield: a resource is a function that opens it, yields it once and closes it"
        )
    if taken := parameters_of(function):
        raise RegistrationError(f"{described(function)} takes {taken[0].name!r}: a resource takes no parameters")


def bind_resources(functions: Sequence[Callable[..., Any]]) -> tuple[Resource, ...]:
    """Read what each yields, in the order of registration.

    Raises:
        RegistrationError: it doesn't say what it yields, or two yield the same type.
    """
    found: dict[Any, Resource] = {}
    for function in functions:
        resource = _bound(function)
        if resource.kind in found:
            raise RegistrationError(
                f"{resource.name} and {found[resource.kind].name} both yield {shown_type(resource.kind)}: "
                "a resource is found by its type, so give one of them a type of its own"
            )
        found[resource.kind] = resource
    return tuple(found.values())


def check_injections(binding: Binding, resources: Mapping[Any, Resource]) -> None:
    """Raise RegistrationError when nothing yields what the binding's function takes, or it can't where that runs.

    A child process is sent all resources, and opens those that it needs.
    """
    if binding.execution == "process":
        for resource in resources.values():
            check_sendable(f"the resource {resource.name}", resource)
    for injection in binding.injections:
        if injection.kind is not JobContext and injection.kind not in resources:
            there = ", ".join(sorted(map(shown_type, resources))) or "none"
            raise RegistrationError(
                f"{described(binding.function)}: nothing yields {shown_type(injection.kind)} for "
                f"{parameter_at(binding.function, injection)!r}: register it with @registry.resource; "
                f"there are resources of: {there}"
            )


class OpenResources:
    """The resources of one worker or child process, from `open` to `close`.

    Args:
        only: the types that are needed; None: all.
    """

    def __init__(self, resources: Sequence[Resource], only: Collection[Any] | None = None) -> None:
        self._wanted = [one for one in resources if only is None or one.kind in only]
        self._open: list[tuple[Resource, Any]] = []

    async def open(self) -> Mapping[Any, object]:
        """Open them in the order of registration; by type. Plain generators run here, on the event loop.

        Raises:
            RegistrationError: one yielded nothing.
            Exception: what one raised. Those that were open are closed again.
        """
        values: dict[Any, object] = {}
        try:
            for resource in self._wanted:
                values[resource.kind] = await self._enter(resource)
        except BaseException:
            await self.close()
            raise
        return values

    async def close(self) -> None:
        """Close them, the last one first. What one raises is logged, and the others are closed. Twice is fine."""
        while self._open:
            resource, generator = self._open.pop()
            try:
                await self._leave(resource, generator)
            except Exception as error:
                _log.error("resource %s raised %s when it was closed", resource.name, type(error).__name__)
            except BaseException:
                await self.close()
                raise

    async def _enter(self, resource: Resource) -> object:
        generator: Any = resource.function()
        value = await anext(generator, _ENDED) if resource.is_async else next(generator, _ENDED)
        if value is _ENDED:
            raise RegistrationError(f"resource {resource.name} yielded nothing: it must yield once")
        self._open.append((resource, generator))
        return value

    async def _leave(self, resource: Resource, generator: Any) -> None:
        again = await anext(generator, _ENDED) if resource.is_async else next(generator, _ENDED)
        if again is not _ENDED:
            _log.error("resource %s yielded twice: what follows its second yield doesn't run", resource.name)
            if resource.is_async:
                await generator.aclose()
            else:
                generator.close()


def _bound(function: Callable[..., Any]) -> Resource:
    name, is_async = described(function), inspect.isasyncgenfunction(function)
    annotation = inspect.signature(function).return_annotation
    if annotation is not inspect.Signature.empty:
        annotation = resolved(name, "return", annotation, innermost(function))
    said, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if said not in (_ASYNC if is_async else _PLAIN) or not parts or (kind := bare(parts[0])) is Any:
        wanted = "AsyncIterator" if is_async else "Iterator"
        raise RegistrationError(
            f"{name} doesn't say what it yields: annotate it, as in `-> {wanted}[Client]`; it is injected by that type"
        )
    if kind is JobContext:
        raise RegistrationError(f"{name} yields a JobContext, which the worker fills itself: yield a type of your own")
    return Resource(name, kind, function, is_async)
