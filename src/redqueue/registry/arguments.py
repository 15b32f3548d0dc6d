"""A function's signature becomes what decodes its arguments: compiled once, when a worker starts.

A job can set only what the signature names. What the worker fills (`INJECTED`: a `JobContext`, a resource) is no
argument: a job that names it is refused as it would be for any unknown name.
"""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec
from msgspec.structs import astuple

from redqueue.context import INJECTED, JobContext
from redqueue.errors import InvalidArguments, RegistrationError
from redqueue.registry.decoding import decoder_of

Arguments: TypeAlias = tuple[tuple[Any, ...], Mapping[str, Any]]
DecodeArguments: TypeAlias = Callable[[bytes], Arguments]

NO_KEYWORDS: Final[Mapping[str, Any]] = {}
_EMPTY: Final = inspect.Parameter.empty
_VARIADIC: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_POSITIONAL: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Injection(NamedTuple):
    """One parameter that the worker fills: by this name or at this position, with `JobContext` or a resource's type."""

    at: str | int
    kind: Any


class Plan(NamedTuple):
    """How a job's JSON becomes a call. Each injection's position counts those before it."""

    decode: DecodeArguments
    injections: tuple[Injection, ...]


class _Argument(NamedTuple):
    name: str
    annotation: Any
    default: Any

    @property
    def required(self) -> bool:
        return self.default is _EMPTY


def described(function: object) -> str:
    """Module and name, for a message to the function's author."""
    function = function.func if isinstance(function, functools.partial) else function
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{getattr(named, '__module__', '?')}.{getattr(named, '__qualname__', '?')}"


def check_function(function: object) -> None:
    """What can be told before annotations are resolved.

    Raises:
        RegistrationError: not a function, or one that takes whatever comes, or that yields.
    """
    if isinstance(function, type) or not callable(function):
        raise RegistrationError(f"{function!r} is not a function")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise RegistrationError(f"{described(function)} yields; a job's function returns its result")
    for parameter in parameters_of(function):
        if parameter.kind in _VARIADIC:
            raise RegistrationError(
                f"{described(function)} takes {parameter}: a job could pass anything; name each parameter"
            )


def parameters_of(function: Callable[..., object]) -> Sequence[inspect.Parameter]:
    """In order, `self` not among them."""
    try:
        return tuple(inspect.signature(function).parameters.values())
    except (TypeError, ValueError) as error:
        raise RegistrationError(f"{described(function)} has no signature that can be read: {error}") from error


def data_parameter(function: Callable[..., object]) -> inspect.Parameter:
    """A processor's first parameter."""
    first = next(iter(parameters_of(function)), None)
    if first is None or first.kind not in _POSITIONAL:
        raise RegistrationError(f"{described(function)} takes no data: a processor's first parameter is the job's data")
    return first


def annotation_of(function: Callable[..., object], parameter: inspect.Parameter) -> Any:
    """The annotation itself, `Any` when there is none; names are looked up in the function's module.

    Raises:
        RegistrationError: a name isn't there at run time.
    """
    if parameter.annotation is _EMPTY:
        return Any
    return resolved(described(function), parameter.name, parameter.annotation, innermost(function))


def resolved(where: str, name: str, annotation: Any, scope: Any) -> Any:
    """An annotation whose names are those of `scope`, a function or a module."""
    names = vars(scope) if isinstance(scope, types.ModuleType) else getattr(scope, "__globals__", {})
    holder: Any = types.SimpleNamespace(
        __annotations__={name: annotation}, __type_params__=getattr(scope, "__type_params__", ())
    )
    try:
        return typing.get_type_hints(holder, names, include_extras=True)[name]
    except Exception as error:
        raise RegistrationError(
            f"{where}: the annotation of {name!r} can't be resolved ({error}): import what it names at run time, not "
            "only under TYPE_CHECKING, and define it at module level"
        ) from error


def innermost(function: Any) -> Any:
    """The function that was written: within partials, bound methods, callable objects and `functools.wraps`."""
    while True:
        if isinstance(function, functools.partial):
            function = function.func
        elif isinstance(function, types.MethodType):
            function = function.__func__
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        elif not hasattr(function, "__globals__") and hasattr(type(function).__call__, "__globals__"):
            function = type(function).__call__
        else:
            return function


def plan_data(name: str, annotation: Any, injections: Sequence[Injection]) -> Plan:
    """The call of a processor: its data first."""
    typed = decoder_of(name, annotation)

    def decode(raw: bytes) -> Arguments:
        return (typed(raw),), NO_KEYWORDS

    return Plan(decode, tuple(injections))


def plan_processor(name: str, function: Callable[..., object]) -> Plan:
    """Data, then a context if it takes one (the second parameter, or one annotated `JobContext`), then resources.

    Raises:
        RegistrationError: a parameter that nothing would fill, or an annotation that can't be used.
    """
    data = data_parameter(function)
    injections: list[Injection] = []
    for place, parameter in enumerate(parameters_of(function)[1:], 1):
        annotation = annotation_of(function, parameter)
        unnamed = place == 1 and parameter.kind in _POSITIONAL and parameter.default is _EMPTY and annotation is Any
        kind = JobContext if unnamed else _injected_kind(function, parameter, annotation)
        if kind is not None:
            injection = _injection(function, injections, parameter, place, kind)
            if place > 1 and parameter.kind is not inspect.Parameter.POSITIONAL_ONLY:
                injection = Injection(parameter.name, kind)  # what stands between keeps its default
            injections.append(injection)
        elif parameter.default is _EMPTY or parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            raise RegistrationError(
                f"{described(function)}: nothing fills {parameter.name!r}; "
                "a processor takes (data, context: JobContext), and resources with the default INJECTED"
            )
    return plan_data(name, annotation_of(function, data), injections)


def plan_call(name: str, function: Callable[..., object]) -> Plan:
    """The call of a service method or task: a JSON array gives arguments by position, an object by name.

    By name every argument can be given, by position those that Python takes so. What is left out has its default.
    """
    by_position: list[_Argument] = []
    by_name_only: list[_Argument] = []
    injections: list[Injection] = []
    for place, parameter in enumerate(parameters_of(function)):
        annotation = annotation_of(function, parameter)
        kind = _injected_kind(function, parameter, annotation)
        if kind is not None:
            injections.append(_injection(function, injections, parameter, place, kind))
            continue
        argument = _Argument(parameter.name, annotation, parameter.default)
        (by_position if parameter.kind in _POSITIONAL else by_name_only).append(argument)
    decode = _either(name, _positional(name, by_position, by_name_only), _named(name, by_position, by_name_only))
    return Plan(decode, tuple(injections))


def bare(annotation: Any) -> Any:
    """What an annotation is about: without ``Annotated`` and ``None``."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return bare(parts[0])
    if origin in (typing.Union, types.UnionType):
        some = [part for part in parts if part is not type(None)]
        return bare(some[0]) if len(some) == 1 else annotation
    return annotation


def shown_type(kind: Any) -> str:
    """A type, for a message to the author of the code that names it."""
    return f"{kind.__module__}.{kind.__qualname__}" if isinstance(kind, type) else repr(kind)


def parameter_at(function: Callable[..., object], injection: Injection) -> str:
    """The name of the parameter that it fills."""
    return injection.at if isinstance(injection.at, str) else parameters_of(function)[injection.at].name


def _injected_kind(function: Callable[..., object], parameter: inspect.Parameter, annotation: Any) -> Any:
    """What the worker puts there; None: nothing, it is an argument."""
    if _names_context(annotation):
        return JobContext
    if parameter.default is not INJECTED:
        return None
    if bare(annotation) is Any:
        raise RegistrationError(
            f"{described(function)}: annotate {parameter.name!r}, so that it is known what to inject: JobContext, or "
            "the type of a resource"
        )
    if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
        raise RegistrationError(
            f"{described(function)}: {parameter.name!r} can't be given by name, so no resource can be injected: "
            "move it behind the '/'"
        )
    return bare(annotation)


def _names_context(annotation: Any) -> bool:
    if typing.get_origin(annotation) in (typing.Annotated, typing.Union, types.UnionType):
        return any(_names_context(part) for part in typing.get_args(annotation))
    return annotation is JobContext


def _injection(
    function: object, before: Sequence[Injection], parameter: inspect.Parameter, place: int, kind: Any
) -> Injection:
    if kind is JobContext and any(one.kind is JobContext for one in before):
        raise RegistrationError(f"{described(function)} takes the context twice; {parameter.name!r} is one too many")
    return Injection(place if parameter.kind in _POSITIONAL else parameter.name, kind)


def _either(name: str, positional: DecodeArguments, named: DecodeArguments) -> DecodeArguments:
    def decode(raw: bytes) -> Arguments:
        first = raw.lstrip()[:1]
        if first == b"[":
            return positional(raw)
        if first == b"{":
            return named(raw)
        raise InvalidArguments(f"{name}: $: parameters are an array, or an object by name")

    return decode


def _positional(name: str, arguments: Sequence[_Argument], by_name_only: Sequence[_Argument]) -> DecodeArguments:
    typed = decoder_of(name, _struct(arguments, array_like=True), [argument.name for argument in arguments])
    count_fits = _counter(name, arguments)
    unreachable = next((argument.name for argument in by_name_only if argument.required), None)

    def decode(raw: bytes) -> Arguments:
        if unreachable is not None:
            raise InvalidArguments(f"{name}: missing argument {unreachable!r}, which can be given only by name")
        try:
            return astuple(typed(raw)), NO_KEYWORDS
        except InvalidArguments:
            count_fits(raw)
            raise

    return decode


def _counter(name: str, arguments: Sequence[_Argument]) -> Callable[[bytes], None]:
    """Says of a refused array, in the function's words, that it is too short or too long."""
    required = sum(argument.required for argument in arguments)
    names = ", ".join(argument.name for argument in arguments)
    items = msgspec.json.Decoder(list[msgspec.Raw]).decode

    def check(raw: bytes) -> None:
        try:
            given = len(items(raw))
        except (msgspec.DecodeError, UnicodeError):
            return
        problem = None
        if given > len(arguments):
            problem = f"takes at most {len(arguments)} arguments by position ({names}), got {given}"
        elif given < required:
            problem = f"missing argument {arguments[given].name!r}"
        if problem:
            raise InvalidArguments(f"{name}: {problem}") from None

    return check


def _named(name: str, by_position: Sequence[_Argument], by_name_only: Sequence[_Argument]) -> DecodeArguments:
    typed = decoder_of(name, _struct([*by_position, *by_name_only], kw_only=True))
    keywords, count = [argument.name for argument in by_name_only], len(by_position)

    def decode(raw: bytes) -> Arguments:
        values = astuple(typed(raw))
        return values[:count], dict(zip(keywords, values[count:], strict=True)) if keywords else NO_KEYWORDS

    return decode


def _struct(arguments: Sequence[_Argument], *, array_like: bool = False, kw_only: bool = False) -> type[msgspec.Struct]:
    """Its fields are numbered, as a parameter may have a name that a field can't have, such as ``__x``."""
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for number, (_, annotation, default) in enumerate(arguments):
        if default is _EMPTY:
            fields.append((f"p{number}", annotation))
        else:
            fields.append((f"p{number}", annotation, msgspec.field(default_factory=_giving(default))))
    return msgspec.defstruct(
        "Parameters",
        fields,
        rename={f"p{number}": argument.name for number, argument in enumerate(arguments)},
        forbid_unknown_fields=True,
        array_like=array_like,
        kw_only=kw_only,
    )


def _giving(default: Any) -> Callable[[], Any]:
    """The very object that Python would take, mutable or not."""
    return lambda: default
