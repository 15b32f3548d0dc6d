"""A result as its caller's own types say: what `add` was given names them, and JSON alone does not."""

from __future__ import annotations

import functools
import typing
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import msgspec.inspect

from redqueue.errors import ResultMismatch
from redqueue.registry.arguments import innermost
from redqueue.registry.decoding import is_model
from redqueue.registry.unknown_fields import reachable
from redqueue.shapes import JobData


def as_it_is(value: Any) -> Any:
    """What JSON makes of it."""
    return value


def reader_of(added: object) -> Callable[[Any], Any]:
    """What turns a result into the type that a `JobData`'s class, or a function's annotation, promises.

    Types that can't be found here, or that JSON can't be made into, are left as they are.
    """
    annotation = _promised_by(type(added)) if isinstance(added, JobData) else _returned_by(added)
    try:
        return _reader(annotation)
    except TypeError:  # an unhashable one, as Annotated with a mapping is
        return _reader.__wrapped__(annotation)


@functools.cache
def _promised_by(kind: type[JobData[Any]]) -> Any:
    for one in kind.__mro__:
        for base in getattr(one, "__orig_bases__", ()):
            if typing.get_origin(base) is JobData:
                return typing.get_args(base)[0]
    return Any


def _returned_by(function: Any) -> Any:
    if hasattr(function, "__wrapped__"):
        return Any  # what wraps it may return something else
    try:
        return _hint_of(innermost(function))
    except TypeError:
        return Any


@functools.cache
def _hint_of(function: Any) -> Any:
    try:
        return typing.get_type_hints(function).get("return", Any)
    except Exception:  # an annotation of its author's that doesn't resolve here: a worker may know it
        return Any


@functools.cache
def _reader(annotation: Any) -> Callable[[Any], Any]:
    if annotation in (Any, None, type(None), object) or isinstance(annotation, str | TypeVar):
        return as_it_is
    if not _can_be_made(annotation):
        return as_it_is

    def read(value: Any) -> Any:
        try:
            return msgspec.convert(value, annotation, str_keys=True, dec_hook=_into_model)
        except Exception as error:  # a class's own check may raise anything
            problem = str(error)
        raise ResultMismatch(f"the result is no {getattr(annotation, '__name__', annotation)}: {problem}", value)

    return read


def _can_be_made(annotation: Any) -> bool:
    """Whether JSON becomes such a value: msgspec takes a class that it doesn't know for one of the caller's own."""
    try:
        parts = list(reachable(msgspec.inspect.type_info(annotation)))
    except Exception:
        return False
    custom = [part.cls for part in parts if isinstance(part, msgspec.inspect.CustomType)]
    return all(kind is object or is_model(kind) for kind in custom)


def _into_model(kind: Any, value: Any) -> Any:
    return kind.model_validate(value) if is_model(kind) else value
