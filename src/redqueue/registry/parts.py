"""A processor with parts becomes one function: validate, process, on_completed; and one for its last failure."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol, TypeGuard, TypeVar, get_args, get_origin

from redqueue.context import JobContext
from redqueue.errors import RegistrationError
from redqueue.registry.arguments import annotation_of, data_parameter, described, resolved


class ProcessorParts(Protocol):
    """What the registry needs of a `BaseProcessor`, which lives a floor higher."""

    def validate(self, data: Any, /) -> object:
        """Before anything is done."""

    def process(self, data: Any, context: JobContext, /) -> object:
        """The work."""

    def on_completed(self, data: Any, result: Any, context: JobContext, /) -> object:
        """After it, within the same attempt."""

    def on_failed(self, data: Any, error: Exception, context: JobContext, /) -> object:
        """After the last attempt."""


OnFailed = Callable[[Any, Exception, JobContext], object]
_ARITIES: Final = {"validate": 1, "process": 2, "on_completed": 3, "on_failed": 3}


class Joined(NamedTuple):
    """The parts as functions: both coroutine functions when any part is, else both plain."""

    run: Callable[[Any, JobContext], object]
    on_failed: OnFailed


def has_parts(processor: object) -> TypeGuard[ProcessorParts]:
    """Whether it is an object whose class defines all four parts; looked up without running anything of its own."""
    kind = type(processor)
    return all(inspect.isfunction(inspect.getattr_static(kind, part, None)) for part in _ARITIES)


def join(parts: ProcessorParts) -> Joined:
    """Bind the parts and join them.

    Raises:
        RegistrationError: a part takes other arguments, or `process` is plain beside a part that is async: it would
            block the event loop.
    """
    for part, arity in _ARITIES.items():
        _check_part(parts, part, arity)
    if not any(inspect.iscoroutinefunction(getattr(parts, part)) for part in _ARITIES):
        return Joined(_plain(parts), parts.on_failed)
    if not inspect.iscoroutinefunction(parts.process):
        raise RegistrationError(
            f"{described(parts)}.process is plain and another part is async: make it `async def process`, "
            "or all parts plain, which then run in a thread"
        )
    return Joined(_async(parts), _awaitable(parts.on_failed))


def parts_annotation(parts: ProcessorParts) -> Any:
    """The type of the data: as `process` says, else as the class says in ``BaseProcessor[Data, Result]``."""
    annotation = annotation_of(parts.process, data_parameter(parts.process))
    if annotation is not Any and not isinstance(annotation, TypeVar):
        return annotation
    for kind in type(parts).__mro__:
        for base in kind.__dict__.get("__orig_bases__", ()):
            origin, said = get_origin(base), get_args(base)
            if isinstance(origin, type) and hasattr(origin, "process") and said and not isinstance(said[0], TypeVar):
                return resolved(described(parts), "data", said[0], sys.modules[kind.__module__])
    return Any


def _check_part(parts: ProcessorParts, part: str, arity: int) -> None:
    function = getattr(parts, part)
    try:
        inspect.signature(function).bind(*[None] * arity)
    except TypeError as error:
        raise RegistrationError(
            f"{described(parts)}.{part} must take {arity} arguments by position: {error}"
        ) from error


def _plain(parts: ProcessorParts) -> Callable[[Any, JobContext], object]:
    validate, process, on_completed = parts.validate, parts.process, parts.on_completed

    def run(data: Any, context: JobContext) -> object:
        validate(data)
        result = process(data, context)
        on_completed(data, result, context)
        return result

    return run


def _async(parts: ProcessorParts) -> Callable[[Any, JobContext], object]:
    validate, on_completed = _awaitable(parts.validate), _awaitable(parts.on_completed)
    process: Callable[[Any, JobContext], Any] = parts.process

    async def run(data: Any, context: JobContext) -> object:
        await validate(data)
        result = await process(data, context)
        await on_completed(data, result, context)
        return result

    return run


def _awaitable(part: Callable[..., object]) -> Callable[..., Any]:
    """The part itself when it is async; else a coroutine function that runs it on the loop, so it must be quick."""
    if inspect.iscoroutinefunction(part):
        return part

    async def inline(*arguments: Any) -> None:
        part(*arguments)

    return inline
