"""Generic jobs: a service method, or a task, by its registered name, with its parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from redqueue.defaults import GENERIC_TASK
from redqueue.errors import InvalidName, InvalidOption
from redqueue.options import JobOptions, Parameters, TaskOptions, check_known, plan_job
from redqueue.shapes import GenericTaskJobData

_MAX_NAME: Final = 128


class GenericTask(NamedTuple):
    """A generic job, checked: the queue it is for, what it says, and the options that are left for `prepare`."""

    queue: str
    data: GenericTaskJobData
    options: dict[str, Any]


def method_task(
    label: str, service: str, method: str, parameters: Parameters, options: Mapping[str, Any]
) -> GenericTask:
    """A method of a service. Whether there is such a service, only a worker's registry knows.

    Raises:
        InvalidName: a name is not text of 1 to 128 printable characters.
        InvalidOption: an option of `TaskOptions`, the label or the parameters.
    """
    names = {"service": _check_name("service", service), "method": _check_name("method", method)}
    return _task(label, names, parameters, options)


def function_task(label: str, function: str, parameters: Parameters, options: Mapping[str, Any]) -> GenericTask:
    """A task; as `method_task` otherwise."""
    return _task(label, {"function": _check_name("task", function)}, parameters, options)


def named_task(name: tuple[str, ...], parameters: Parameters, options: Mapping[str, Any]) -> GenericTask:
    """What a registry calls ``("service", service, method)`` or ``("task", name)``; labelled by that name."""
    match name:
        case ("service", service, method):
            return method_task(f"{service}.{method}", service, method, parameters, options)
        case _:
            return function_task(name[-1], name[-1], parameters, options)


def parameters_of(
    function: Callable[..., object], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> list[Any] | dict[str, Any]:
    """A call's arguments as they are stored: in order, or all by name when some were given by name.

    Args:
        function: a registered one, so each of its parameters has a name of its own.
    Raises:
        InvalidOption: they don't fit the function, or some of both kinds can't be told by name.
    """
    if not kwargs:
        return list(args)
    if not args:
        return dict(kwargs)
    try:
        bound = inspect.signature(function).bind_partial(*args, **kwargs)
    except TypeError as error:
        raise InvalidOption("parameters", f"the arguments don't fit {_called(function)}: {error}") from error
    for name in bound.arguments:
        if bound.signature.parameters[name].kind is inspect.Parameter.POSITIONAL_ONLY:
            raise InvalidOption(
                "parameters", f"{_called(function)} takes {name} only by position: give all arguments so, or none"
            )
    return dict(bound.arguments)


def over(defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Options of `TaskOptions` over those of before; None is as if absent, and delay and at replace each other.

    Raises:
        InvalidOption: an unknown one, or a bad value among the given ones.
    """
    check_known(given, TaskOptions)
    chosen = {name: value for name, value in given.items() if value is not None}
    plan_job(job_options(chosen), {})
    _check_asked(chosen)
    if "delay" in chosen or "at" in chosen:
        defaults = {name: value for name, value in defaults.items() if name not in ("delay", "at")}
    return {**defaults, **chosen}


def over_job(defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The same for a job that is no generic one: defaults that only a generic job may have are left out.

    Raises:
        InvalidOption: a given one is not in `JobOptions`.
    """
    check_known(given, JobOptions)
    return job_options(over(defaults, given))


def job_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the options that any job may have, not only a generic one."""
    return {name: value for name, value in options.items() if name in JobOptions.__annotations__}


def _task(label: str, names: dict[str, str], parameters: Parameters, options: Mapping[str, Any]) -> GenericTask:
    chosen = over({}, options)
    if not isinstance(label, str):
        raise InvalidOption("label", f"label must be text, not {type(label).__name__}")
    data = GenericTaskJobData(
        label=label,
        parameters=_check_parameters(parameters),
        context=chosen.get("context"),
        sub_account_id=chosen.get("sub_account_id"),
        user_id=chosen.get("user_id"),
        **names,
    )
    return GenericTask(chosen.get("queue", GENERIC_TASK), data, job_options(chosen))


def _check_parameters(parameters: object) -> list[Any] | dict[str, Any]:
    if isinstance(parameters, list | tuple):
        return list(parameters)
    if isinstance(parameters, Mapping):
        return dict(parameters)
    raise InvalidOption(
        "parameters",
        f"parameters must be a list or tuple in order, or a mapping by name, not {type(parameters).__name__}",
    )


def _check_asked(options: Mapping[str, Any]) -> None:
    for name in ("sub_account_id", "user_id"):
        if not isinstance(options.get(name, ""), str):
            raise InvalidOption(name, f"{name} must be text, not {type(options[name]).__name__}")
    if not isinstance(options.get("context", {}), Mapping):
        raise InvalidOption("context", f"context must be a mapping, not {type(options['context']).__name__}")


def _check_name(kind: str, name: object) -> str:
    if not isinstance(name, str) or not 1 <= len(name) <= _MAX_NAME or not name.isprintable():
        raise InvalidName(f"a {kind} name is text of 1 to {_MAX_NAME} printable characters, not {ascii(name)[:80]}")
    return name


def _called(function: object) -> str:
    return getattr(function, "__qualname__", type(function).__qualname__)
