"""Which methods of a service jobs may call. Found by looking through its class: none of its own code runs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import FunctionType, MethodType
from typing import Any, Final, TypeAlias, TypeVar

from typing_extensions import Unpack

from redqueue.errors import RegistrationError
from redqueue.options import ProcessorOptions
from redqueue.registry.arguments import described
from redqueue.registry.binding import Entry, check_entry, check_options
from redqueue.registry.names import check_method_name

F = TypeVar("F", bound=Callable[..., object])
Methods: TypeAlias = Mapping[str, Entry]

_MARK: Final = "__redqueue_job_method__"
_ABSENT: Final = object()
_log: Final = logging.getLogger("redqueue.registry")


@dataclass(slots=True)
class Service:
    """A service's name: the object is known, or made when a worker starts."""

    kind: type | None = None
    marked: Mapping[str, FunctionType] = field(default_factory=dict)
    factory: Callable[[], object] | None = None
    instance: object = None
    methods: Methods = field(default_factory=dict)

    @property
    def method_names(self) -> Iterable[str]:
        return self.marked if self.instance is None else self.methods

    def marked_of(self, name: str, service: object) -> Methods:
        """What the declared class marks when the object is of it, else what the object's own class marks."""
        declared = self.kind is not None and issubclass(type(service), self.kind)
        marked = self.marked if declared else marked_functions(type(service))
        if not marked:
            raise RegistrationError(
                f"service {name!r}: {described(service)} marks no method with @job_method(): mark some, or name them"
            )
        return marked_methods(name, service, marked)

    def make(self, name: str) -> None:
        """The object, unless it is there: once, however often."""
        if self.instance is not None:
            return
        make = self.factory or self.kind
        assert make is not None, "a service without an object was declared by a class"
        try:
            made = make()
        except Exception as error:
            raise RegistrationError(
                f"service {name!r} could not be made ({type(error).__name__}: {error}): give the class a factory, or "
                "register an object with register_service"
            ) from error
        self.methods = self.marked_of(name, made)
        self.instance = made


def job_method(**options: Unpack[ProcessorOptions]) -> Callable[[F], F]:
    """Marks a method that jobs may call; its class carries `@registry.service`. Below @staticmethod or @classmethod.

    Raises:
        InvalidOption: at once, by the option's name.
    """
    checked = check_options(options)

    def mark(function: F) -> F:
        plain: object = function
        if not isinstance(plain, FunctionType):
            raise RegistrationError(f"@job_method() marks a plain function, not {function!r}: put it next to the def")
        setattr(plain, _MARK, checked)
        return function

    return mark


def marked_functions(kind: type) -> Mapping[str, FunctionType]:
    """What the class itself marks, by name; what its bases mark counts only when it is named."""
    found: dict[str, FunctionType] = {}
    for name, attribute in vars(kind).items():
        function = _function_of(attribute)
        if function is not None and _MARK in vars(function):
            check_entry(function, vars(function)[_MARK])
            found[check_method_name(kind.__name__, name)] = function
    return found


def marked_methods(name: str, service: object, marked: Mapping[str, FunctionType]) -> Methods:
    """The service's own methods by the names that a class marks, bound.

    Raises:
        RegistrationError: a subclass has its own, unmarked: say that jobs may call it, by a mark or by its name.
    """
    methods: dict[str, Entry] = {}
    for method, function in marked.items():
        entry = _bound(name, service, method)
        own = _function_of(_static(type(service), method))
        if entry is None or own is None or (own is not function and _MARK not in vars(own)):
            raise RegistrationError(
                f"service {name!r}: {described(service)} has another {method} than {described(function)}, "
                "and not marked: mark it with @job_method(), or name the methods"
            )
        methods[method] = entry
    return methods


def named_methods(
    name: str, service: object, methods: Iterable[str | Callable[..., object]], *, strict: bool
) -> Methods:
    """The service's methods of these names, bound; one that it doesn't have is logged, or refused when strict."""
    if isinstance(methods, str | bytes):
        raise RegistrationError(f"service {name!r}: methods is one text, not a list of them: write [{methods!r}]")
    found: dict[str, Entry] = {}
    for given in methods:
        method = check_method_name(name, given if isinstance(given, str) else _name_of(name, service, given))
        if (entry := _bound(name, service, method)) is not None:
            found[method] = entry
        elif strict:
            raise RegistrationError(f"Method {method} not found on service {name}")
        else:
            _log.warning("Method %s not found on service %s", method, name)
    return found


def _name_of(name: str, service: object, given: object) -> str:
    if isinstance(given, MethodType) and given.__self__ is service:
        method = given.__func__.__name__
        if _static(type(service), method) is given.__func__:
            return method
    raise RegistrationError(
        f"service {name!r}: {given!r} is not a method of {described(service)}'s own object: give one, or its name"
    )


def _bound(name: str, service: object, method: str) -> Entry | None:
    kind = type(service)
    attribute = _static(kind, method)
    if attribute is _ABSENT:
        return None
    function = _function_of(attribute)
    if function is None:
        what = "a property" if isinstance(attribute, property) else f"of type {type(attribute).__name__}"
        raise RegistrationError(f"service {name!r}: {described(service)}.{method} is {what}, not a method")
    options = vars(function).get(_MARK) or check_options({})
    if isinstance(attribute, staticmethod):
        return check_entry(function, options)
    return check_entry(MethodType(function, kind if isinstance(attribute, classmethod) else service), options)


def _function_of(attribute: object) -> FunctionType | None:
    if isinstance(attribute, staticmethod | classmethod):
        attribute = attribute.__func__
    return attribute if isinstance(attribute, FunctionType) else None


def _static(kind: type, name: str) -> Any:
    return next((vars(base)[name] for base in kind.__mro__ if name in vars(base)), _ABSENT)
