"""A result as its caller's own types say: what `add` was given names them, and JSON alone does not."""

from __future__ import annotations

import functools
import typing
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from redqueue.errors import ResultMismatch
from redqueue.registry.arguments import innermost
from redqueue.registry.decoding import is_model
from redqueue.shapes import JobData


def as_it_is(value: Any) -> Any:
    """What JSON makes of it."""
    return value


def reader_of(added: object) -> Callable[[Any], Any]:
    """What turns a result into the type that a `JobData`'s class, or a function's annotation, promises.

    Types that can't be found here, or that JSON can't be made into, are left as they are.
    """
    return _reader(_promised_by(type(added)) if isinstance(added, JobData) else _returned_by(innermost(added)))


@functools.cache
def _promised_by(kind: type[JobData[Any]]) -> Any:
    for one in kind.__mro__:
        for base in getattr(one, "__orig_bases__", ()):
            if typing.get_origin(base) is JobData:
                return typing.get_args(base)[0]
    return Any


@functools.cache
def _returned_by(function: Any) -> Any:
    try:
        return typing.get_type_hints(function).get("return", Any)
    except Exception:  # an annotation of its author's that doesn't resolve here: a worker may know it
        return Any


@functools.cache
def _reader(annotation: Any) -> Callable[[Any], Any]:
    if annotation in (Any, None, type(None), object) or isinstance(annotation, str | TypeVar):
        return as_it_is
    try:
        msgspec.json.Decoder(annotation)
    except Exception:
        return as_it_is

    def read(value: Any) -> Any:
        try:
            return msgspec.convert(value, annotation, str_keys=True, dec_hook=_into_model)
        except msgspec.ValidationError as error:
            problem = str(error)
        raise ResultMismatch(f"the result is no {getattr(annotation, '__name__', annotation)}: {problem}", value)

    return read


def _into_model(kind: Any, value: Any) -> Any:
    return kind.model_validate(value) if is_model(kind) else value
