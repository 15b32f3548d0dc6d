"""A registered name, bound to a function: everything is looked up and compiled before the first job comes."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import CoroutineType, MappingProxyType, MethodType
from typing import Any, Concatenate, Final, Literal, NamedTuple, TypeAlias
from weakref import WeakKeyDictionary

import msgspec

from redqueue.context import INJECTED, JobContext
from redqueue.errors import InvalidOption, NotRegistered, RegistrationError
from redqueue.options import ProcessorOptions, check_known, check_run_options
from redqueue.registry.arguments import (
    DecodeArguments,
    Injection,
    check_function,
    data_parameter,
    described,
    parameters_of,
    plan_call,
    plan_data,
    plan_processor,
    shown_type,
)
from redqueue.registry.decoding import refuse_bombs
from redqueue.registry.parts import Joined, OnFailed, ProcessorParts, has_parts, join, parts_annotation

Processor: TypeAlias = Callable[Concatenate[Any, ...], object] | ProcessorParts
NO_RESOURCES: Final[Mapping[Any, object]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Binding:
    """What runs the jobs of one name.

    Attributes:
        key: no other binding of the registry has it: ``processor sms``, ``service Name.method``, ``task name``.
        name: for messages: ``BusinessFinderService.search_businesses``, ``send_sms``.
        function: bound at registration; never looked up again.
        is_coroutine: whether calling it gives a coroutine; else it belongs in a thread.
        options: checked `ProcessorOptions`, without those that are None.
        decode: the job's JSON, already found harmless, to positional and keyword arguments.
        injections: what `Prepared.call` hands over beside the job's own arguments.
        on_failed: of a processor with parts, else None; `Prepared.failed` calls it.
        execution: where it runs.
    """

    key: str
    name: str
    function: Callable[..., object]
    is_coroutine: bool
    options: Mapping[str, Any]
    decode: DecodeArguments
    injections: tuple[Injection, ...]
    on_failed: OnFailed | None = None
    execution: Literal["loop", "thread", "process"] = field(init=False)

    def __post_init__(self) -> None:
        in_process = self.options.get("execution") == "process"
        where = "process" if in_process else "loop" if self.is_coroutine else "thread"
        object.__setattr__(self, "execution", where)

    def prepare(self, raw: bytes | msgspec.Raw) -> Prepared:
        """Decode and check one job's data; its function is not entered.

        Raises:
            InvalidArguments: they don't fit. Don't retry: they never will.
        """
        raw = bytes(raw)
        refuse_bombs(self.name, raw)
        args, kwargs = self.decode(raw)
        return Prepared(self, args, kwargs, raw)


class Prepared(msgspec.Struct, frozen=True, eq=False):
    """One run, ready to go. A struct, as one is made for every job and no other class is made as fast.

    Attributes:
        raw: the JSON that was decoded, for a child process to decode again.
    """

    binding: Binding
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    raw: bytes

    def call(self, context: JobContext, resources: Mapping[Any, object] = NO_RESOURCES) -> object:
        """Enter the function: a coroutine from an async one, to be awaited, else its value.

        Raises:
            RegistrationError: it takes a resource that isn't among these; it was not entered.
        """
        binding, args, kwargs = self.binding, self.args, self.kwargs
        for at, kind in binding.injections:
            value = context if kind is JobContext else _resource(binding, resources, kind)
            if isinstance(at, int):
                args = (*args[:at], value, *args[at:])
            else:
                kwargs = {**kwargs, at: value}
        result = binding.function(*args, **kwargs)
        if isinstance(result, CoroutineType) and not binding.is_coroutine:
            result.close()
            raise TypeError(f"{binding.name} is not async and returned a coroutine: make it, or its wrapper, async def")
        return result

    def failed(self, error: Exception, context: JobContext) -> object:
        """Tell a processor with parts that its job failed for good; a coroutine when the binding is one, else None."""
        on_failed = self.binding.on_failed
        return None if on_failed is None else on_failed(self.args[0], error, context)


def _resource(binding: Binding, resources: Mapping[Any, object], kind: Any) -> object:
    try:
        return resources[kind]
    except KeyError:
        raise RegistrationError(f"{binding.name} takes the resource {shown_type(kind)}, which isn't open") from None


class Portable(NamedTuple):
    """A binding on its way to a child process: what `bind_portable` compiles again there.

    Attributes:
        name: the binding's, for messages.
        target: the function, bound method or processor object.
    """

    kind: Literal["processor", "call"]
    name: str
    target: object
    retry_on: tuple[type[Exception], ...] | None
    give_up_on: tuple[type[Exception], ...]


class Entry(NamedTuple):
    """A function as it was registered, not compiled yet."""

    function: Callable[..., object]
    options: Mapping[str, Any]


class ProcessorEntry(NamedTuple):
    """A processor as it was registered; `joined` when it has parts."""

    processor: Processor
    options: Mapping[str, Any]
    joined: Joined | None


def check_options(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """A frozen copy without what is None.

    Raises:
        InvalidOption: unknown, or a value that can't be; by the option's name.
    """
    check_known(options, ProcessorOptions)
    given = {name: value for name, value in options.items() if value is not None}
    check_run_options(given)
    execution = given.get("execution", "auto")
    if execution not in ("auto", "thread", "process"):
        raise InvalidOption("execution", f"execution must be 'auto', 'thread' or 'process', not {execution!r}")
    for option in ("retry_on", "give_up_on"):
        _check_exceptions(option, given.get(option, ()))
    return MappingProxyType(given)


def is_async(function: object) -> bool:
    """Whether calling it gives a coroutine: also within partials, and for objects with an async ``__call__``."""
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def check_entry(function: Callable[..., object], options: Mapping[str, Any]) -> Entry:
    """A service method or task, as far as it can be checked before annotations are resolved."""
    check_function(function)
    _check_execution(function, options, is_async(function))
    return Entry(function, options)


def check_processor(processor: Processor, options: Mapping[str, Any]) -> ProcessorEntry:
    """A processor, as far as it can be checked before annotations are resolved."""
    if isinstance(processor, type):
        raise RegistrationError(f"{described(processor)} is a class: register an object of it")
    if has_parts(processor):
        joined = join(processor)
        _check_execution(processor, options, is_async(joined.run))
        _refuse_resources(processor)
        return ProcessorEntry(processor, options, joined)
    if not callable(processor):
        raise RegistrationError(f"{processor!r} is neither a function nor a BaseProcessor")
    data_parameter(check_entry(processor, options).function)
    return ProcessorEntry(processor, options, None)


def bind_call(key: str, name: str, entry: Entry) -> Binding:
    """Compile a service method or task.

    Raises:
        RegistrationError: an annotation that can't be resolved or decoded into.
    """
    decode, injections = plan_call(name, entry.function)
    return Binding(key, name, entry.function, is_async(entry.function), entry.options, decode, injections)


def bind_processor(key: str, entry: ProcessorEntry) -> Binding:
    """Compile a processor.

    Raises:
        RegistrationError: an annotation that can't be resolved or decoded into, or a parameter that nothing fills.
    """
    processor, options, joined = entry
    name = getattr(processor, "__name__", type(processor).__name__)
    if joined is None:
        assert callable(processor)
        decode, injections = plan_processor(name, processor)
        return Binding(key, name, processor, is_async(processor), options, decode, injections)
    assert has_parts(processor)
    decode, injections = plan_data(name, parts_annotation(processor), [Injection(1, JobContext)])
    return Binding(key, name, joined.run, is_async(joined.run), options, decode, injections, joined.on_failed)


def portable_of(binding: Binding, target: object) -> Portable:
    """What a child process needs to run the jobs of a binding.

    Args:
        target: what was registered, which is the binding's function unless it is a processor with parts.
    Raises:
        RegistrationError: it can't be sent to another process.
    """
    kind: Literal["processor", "call"] = "processor" if binding.key.startswith("processor ") else "call"
    options = binding.options
    portable = Portable(kind, binding.name, target, options.get("retry_on"), options.get("give_up_on", ()))
    check_sendable(described(target), target)
    check_sendable(f"an exception class of {described(target)}", portable)
    return portable


def check_sendable(what: str, thing: object) -> None:
    """Raise RegistrationError when a child process can't be sent this."""
    from multiprocessing.reduction import ForkingPickler  # only here: producers register, and start no process

    try:
        ForkingPickler.dumps(thing)
    except Exception as error:
        raise RegistrationError(
            f"{what} can't be sent to a child process ({type(error).__name__}: {error}): define it at module level, "
            "and let an object open connections, locks and files where it works, not before"
        ) from error


def bind_portable(portable: Portable) -> Binding:
    """Compile it again, in a child process, where its name is also its key.

    Raises:
        RegistrationError: as `bind_call` and `bind_processor`.
    """
    kind, name, target, retry_on, give_up_on = portable
    options = check_options({"execution": "process", "retry_on": retry_on, "give_up_on": give_up_on})
    processor: Any = target
    if kind == "processor":
        return bind_processor(name, check_processor(processor, options))
    return bind_call(name, name, check_entry(processor, options))


def remember_job_type(processor: Processor, job_type: str) -> None:
    """So that a producer may name the job type by its processor."""
    with _remembering:
        try:
            _JOB_TYPES[_own(processor)] = _JOB_TYPES.get(_own(processor), frozenset()) | {job_type}
        except TypeError:  # neither hashable nor weakly referable: producers name the type
            return


def job_type_of(function: object) -> str:
    """The job type that a processor was registered for, in whichever registry of this process.

    Raises:
        NotRegistered: for none, or for several: name the type then.
    """
    try:
        found = sorted(_JOB_TYPES.get(_own(function), ()))
    except TypeError:
        found = []
    if not found:
        raise NotRegistered(f"{described(function)} is registered as no processor: register it, or name the job type")
    if len(found) > 1:
        raise NotRegistered(f"{described(function)} is registered for {', '.join(found)}: name the job type")
    return found[0]


_JOB_TYPES: Final[WeakKeyDictionary[Any, frozenset[str]]] = WeakKeyDictionary()
_remembering: Final = threading.Lock()


def _own(function: object) -> object:
    # A bound method lives only as long as one looks at it.
    return function.__func__ if isinstance(function, MethodType) else function


def _check_execution(function: object, options: Mapping[str, Any], asynchronous: bool) -> None:
    if asynchronous and options.get("execution") == "thread":
        raise InvalidOption("execution", f"{described(function)} is async, so execution='thread' contradicts it")


def _refuse_resources(parts: ProcessorParts) -> None:
    for parameter in parameters_of(parts.process)[2:]:
        if parameter.default is INJECTED:
            raise RegistrationError(
                f"{described(parts)}.process: nothing is injected into a processor object, so nothing fills "
                f"{parameter.name!r}: let the object hold what it needs"
            )


def _check_exceptions(option: str, value: object) -> None:
    good = isinstance(value, tuple) and all(isinstance(one, type) and issubclass(one, Exception) for one in value)
    if not good:
        raise InvalidOption(option, f"{option} is a tuple of exception classes, as in (ValueError,), not {value!r}")
