"""The allow-list: what jobs may name. Nothing that isn't in it can run."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import MethodType
from typing import Any, ClassVar, Concatenate, Final, Literal, Protocol, TypeAlias, TypeVar

from typing_extensions import Unpack

from redqueue.defaults import GENERIC_TASK
from redqueue.errors import NotRegistered, RegistrationError, UnknownJobType
from redqueue.options import ProcessorOptions, check_queue_name
from redqueue.registry.arguments import annotation_of, data_parameter, described
from redqueue.registry.around import (
    AroundRun,
    BeforeAdd,
    HookKind,
    Hooks,
    check_hook,
    check_kind,
    check_middleware,
    check_where,
)
from redqueue.registry.binding import (
    Binding,
    Entry,
    Portable,
    Processor,
    ProcessorEntry,
    check_entry,
    check_options,
    check_processor,
    remember_job_type,
)
from redqueue.registry.bound import Bound, bind_all
from redqueue.registry.methods import Service, marked_functions, named_methods
from redqueue.registry.names import check_name, quoted
from redqueue.registry.resources import Resource, check_resource

C = TypeVar("C")
F = TypeVar("F", bound=Callable[..., object])
PF = TypeVar("PF", bound=Callable[Concatenate[Any, ...], object])
Name: TypeAlias = tuple[Literal["service"], str, str] | tuple[Literal["task"], str]


class Extension(Protocol):
    """What `ServiceRegistry.use` takes: an object that registers what it brings."""

    def register(self, registry: ServiceRegistry, /) -> None:
        """Register all of it."""


class ServiceRegistry:
    """Services and their methods, tasks and processors, by name.

    Annotations are resolved by `check`, when a worker starts, so that modules may refer to each other; after that the
    registry doesn't change any more. Decorators return what they got. Safe to use from several threads.
    """

    _instance: ClassVar[ServiceRegistry | None] = None
    _instance_lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._services: dict[str, Service] = {}
        self._tasks: dict[str, Entry] = {}
        self._processors: dict[str, ProcessorEntry] = {}
        self._resources: list[Callable[..., Any]] = []
        self._hooks: dict[HookKind, list[Callable[..., object]]] = {}
        self.around_run: tuple[AroundRun, ...] = ()
        self.before_add: tuple[BeforeAdd, ...] = ()
        self._bindings: Bound | None = None
        self._checking = False
        self._names: Mapping[_Identity, frozenset[Name]] | None = None

    @classmethod
    def get_instance(cls) -> ServiceRegistry:
        """The application's one; ``ServiceRegistry()`` makes a private one, for a test or a library."""
        with ServiceRegistry._instance_lock:
            if ServiceRegistry._instance is None:
                ServiceRegistry._instance = ServiceRegistry()
            return ServiceRegistry._instance

    @classmethod
    def instance_if_any(cls) -> ServiceRegistry | None:
        """The same, unless nobody has asked for it yet."""
        return ServiceRegistry._instance

    def register_service(
        self,
        name: str,
        service: object,
        methods: Iterable[str | Callable[..., object]] | None = None,
        *,
        strict: bool = False,
    ) -> None:
        """Let jobs call methods of this object.

        What is called is bound now: changing the class later changes nothing. Inherited methods count when named.

        Args:
            methods: names, or the object's own bound methods; None: those that its class marks with `@job_method()`.
            strict: refuse a name that the object doesn't have, instead of logging a warning and leaving it out.
        Raises:
            RegistrationError: the name has another object, or a method is private, a property, or not a function, or
                takes ``*args`` or ``**kwargs``.
        """
        check_name("service", name)
        if service is None or isinstance(service, type):
            raise RegistrationError(
                f"service {name!r}: {service!r} is not an object with methods: give one, not its class"
            )
        with self._registering():
            known = self._services.get(name, Service())
            if methods is None:
                found = known.marked_of(name, service)
            else:
                found = named_methods(name, service, methods, strict=strict)
            if known.instance is not None and (known.instance is not service or known.methods != found):
                raise RegistrationError(f"service {name!r} is registered already, with another object or other methods")
            known.instance, known.methods = service, found
            self._services[name] = known

    def service(self, name: str, *, factory: Callable[[], object] | None = None) -> Callable[[type[C]], type[C]]:
        """Let jobs call what the class marks with `@job_method()`.

        The object is `register_service`'s, else what `factory`, or the class without arguments, makes once, when the
        first worker starts.
        """
        check_name("service", name)

        def declare(kind: type[C]) -> type[C]:
            marked = marked_functions(kind)
            with self._registering():
                known = self._services.setdefault(name, Service())
                if known.kind is not None and (known.kind, known.factory) != (kind, factory):
                    raise RegistrationError(f"service {name!r} is registered already, by {described(known.kind)}")
                known.kind, known.marked, known.factory = kind, marked, factory
            return kind

        return declare

    def register_task(self, name: str, function: Callable[..., object], **options: Unpack[ProcessorOptions]) -> None:
        """Let jobs call this function by the name.

        Raises:
            RegistrationError: the name has another function, or this takes ``*args`` or ``**kwargs``, or yields.
            InvalidOption: by the option's name.
        """
        entry = check_entry(function, check_options(options))
        with self._registering():
            if self._tasks.setdefault(check_name("task", name), entry) != entry:
                raise RegistrationError(f"task {name!r} is registered already, as {described(self._tasks[name][0])}")

    def task(self, name: str | None = None, **options: Unpack[ProcessorOptions]) -> Callable[[F], F]:
        """Let jobs call the function by this name, or by its own."""
        if name is not None:
            check_name("task", name)

        def register(function: F) -> F:
            self.register_task(_own_name(function) if name is None else name, function, **options)
            return function

        return register

    def register_processor(
        self,
        job_type: str,
        processor: Processor,
        **options: Unpack[ProcessorOptions],
    ) -> None:
        """Let this function, or `BaseProcessor` object, run the jobs of a type.

        Raises:
            RegistrationError: the type has another processor, or this one takes no data, or yields.
            InvalidName: the type can't be a queue's name.
            InvalidOption: by the option's name.
        """
        if check_queue_name(job_type) == GENERIC_TASK:
            raise RegistrationError(f"{GENERIC_TASK!r} is the type of service methods and tasks; register those")
        entry = check_processor(processor, check_options(options))
        with self._registering():
            known = self._processors.setdefault(job_type, entry)
            if known[:2] != entry[:2]:
                raise RegistrationError(
                    f"job type {job_type!r} is registered already, for {described(known.processor)}"
                )
            remember_job_type(processor, job_type)

    def processor(self, job_type: str | None = None, **options: Unpack[ProcessorOptions]) -> Callable[[PF], PF]:
        """Let the function run the jobs of a type; None: the type that its data's class, a `JobData`, declares."""
        if callable(job_type):
            raise RegistrationError(f'{described(job_type)}: write @registry.processor("job-type"), with parentheses')
        if job_type is not None:
            check_queue_name(job_type)

        def register(function: PF) -> PF:
            self.register_processor(_declared_type(function) if job_type is None else job_type, function, **options)
            return function

        return register

    def resource(self, function: Callable[..., AsyncIterator[Any] | Iterator[Any]], /) -> Callable[..., Any]:
        """Let the generator open what jobs need: once a worker, closed when it leaves.

        It is injected, by the type that it yields, into parameters whose default is `INJECTED`; once a child process.

        Raises:
            RegistrationError: it takes parameters, or is no generator function.
        """
        check_resource(function)
        with self._registering():
            self._resources.append(function)
        return function

    def middleware(self, where: Literal["run", "add"]) -> Callable[[F], F]:
        """Put the function around each run, or before each add; the first one registered is outermost.

        Of "run" it is ``async def around(job, go_on)``: it gets the job's `JobContext`, awaits ``go_on()`` and returns
        the job's result. Of "add" it is a plain function that gets a `JobToAdd` and returns it, or another one.

        Raises:
            InvalidOption, RegistrationError: what is wrong with either.
        """
        check_where(where)

        def register(function: F) -> F:
            check_middleware(where, function)
            put: Any = function
            with self._registering():
                if where == "run":
                    self.around_run = (*self.around_run, put)
                else:
                    self.before_add = (*self.before_add, put)
            return function

        return register

    def hook(self, kind: Literal["start", "stop", "attempt_end", "error", "lease_lost"]) -> Callable[[F], F]:
        """Tell the function, plain or async, what happens in workers; it gets one frozen fact.

        Facts: `WorkerStarted`, `WorkerStopped`, `AttemptEnded`, `WorkerError`, `LeaseGone`. Plain hooks run on the
        event loop, so they must be quick. What a hook raises is logged.

        Raises:
            InvalidOption, RegistrationError: what is wrong with either.
        """
        check_kind(kind)

        def register(function: F) -> F:
            check_hook(function)
            with self._registering():
                self._hooks.setdefault(kind, []).append(function)
            return function

        return register

    def use(self, *extensions: Extension) -> None:
        """Let each register what it brings, as in ``registry.use(builtin_tasks(tables=...))``."""
        for extension in extensions:
            extension.register(self)

    def resources(self) -> tuple[Resource, ...]:
        """What is to be opened, in order of registration."""
        return self._checked().resources

    def hooks(self) -> Hooks:
        """The hooks of one worker."""
        return Hooks(self._hooks)

    def process_entries(self) -> Mapping[str, Portable]:
        """What child processes run, by the key of its binding."""
        return self._checked().portables

    def get_registered_services(self) -> list[str]:
        """Their names, sorted."""
        return sorted(self._services)

    def get_service_methods(self, name: str) -> list[str]:
        """The names of the methods that jobs may call, sorted.

        Raises:
            NotRegistered: there is no such service.
        """
        if name not in self._services:
            raise NotRegistered(f"no service {quoted(name)}; there are: {', '.join(sorted(self._services)) or 'none'}")
        return sorted(self._services[name].method_names)

    def job_types(self) -> list[str]:
        """Those that have a processor, sorted."""
        return sorted(self._processors)

    def tasks(self) -> list[str]:
        """Their names, sorted."""
        return sorted(self._tasks)

    @property
    def has_generic_tasks(self) -> bool:
        """Whether a service or task is registered, so that the queue of generic tasks concerns a worker."""
        return bool(self._services or self._tasks)

    def name_of(self, function: Callable[..., object]) -> Name:
        """How a job names this bound method or task: ``("service", name, method)`` or ``("task", name)``.

        Raises:
            NotRegistered: it isn't registered here, or under several names.
        """
        names = self._names
        if names is None:
            with self._lock:
                names = self._names = self._all_names()
        of_object, code = _identity(function)
        found = names.get((of_object, code)) or names.get((_ANY_OBJECT if of_object else 0, code)) or frozenset()
        if len(found) == 1:
            return next(iter(found))
        if not found:
            raise NotRegistered(f"{described(function)} is registered neither as a service's method nor as a task")
        several = ", ".join(sorted(".".join(name[1:]) for name in found))
        raise NotRegistered(f"{described(function)} is registered as {several}: name the one that is meant")

    def check(self) -> None:
        """Resolve every annotation, make the services' objects, compile and freeze. Again: does nothing.

        Raises:
            RegistrationError: names the function and the parameter. The registry is then as open as before.
        """
        if self._bindings is not None:
            return
        with self._lock:
            if self._bindings is None:
                self._check()

    def processor_binding(self, job_type: str) -> Binding:
        """What runs the jobs of a type.

        Raises:
            UnknownJobType: nothing here does.
        """
        binding = self._checked().processors.get(job_type)
        if binding is None:
            raise UnknownJobType(f"job type {quoted(job_type)} is registered in no worker that saw this job")
        return binding

    def service_bindings(self, name: str) -> Mapping[str, Binding] | None:
        """What a service offers, by method; None: there is no such service."""
        return self._checked().services.get(name)

    def task_bindings(self) -> Mapping[str, Binding]:
        """What runs the tasks, by name."""
        return self._checked().tasks

    @contextmanager
    def _registering(self) -> Iterator[None]:
        with self._lock:
            if self._bindings is not None or self._checking:
                raise RegistrationError(
                    "registered after a worker started: a worker's registry doesn't change; register at import, before"
                )
            yield
            self._names = None

    def _check(self) -> None:
        if self._checking:
            raise RegistrationError("check() was called by a service's factory, that is, by itself")
        self._checking = True
        try:
            for name, service in self._services.items():
                service.make(name)
            self._bindings = bind_all(self._resources, self._processors, self._services, self._tasks)
        finally:
            self._checking, self._names = False, None

    def _checked(self) -> Bound:
        if self._bindings is None:
            raise RegistrationError("this registry isn't checked yet: call check() before jobs are looked up")
        return self._bindings

    def _all_names(self) -> Mapping[_Identity, frozenset[Name]]:
        names: dict[_Identity, frozenset[Name]] = {}

        def add(identity: _Identity, name: Name) -> None:
            names[identity] = names.get(identity, frozenset()) | {name}

        for task, entry in self._tasks.items():
            add(_identity(entry.function), ("task", task))
        for name, service in self._services.items():
            for method, entry in service.methods.items():
                add(_identity(entry.function), ("service", name, method))
            for method in service.marked.keys() & set(service.method_names):
                add((_ANY_OBJECT, id(service.marked[method])), ("service", name, method))
        return names


_Identity: TypeAlias = tuple[int, int]
_ANY_OBJECT: Final = 1
"""In the place of an object's id: a producer may have another object of a declared class than the worker."""


def _identity(function: object) -> _Identity:
    if isinstance(function, MethodType):
        return id(function.__self__), id(function.__func__)
    return 0, id(function)


def _own_name(function: object) -> str:
    name = getattr(function, "__name__", None)
    if not isinstance(name, str):
        raise RegistrationError(f"{described(function)} has no name of its own: give the task one")
    return name


def _declared_type(function: Callable[..., object]) -> str:
    data = data_parameter(function)
    declared = getattr(annotation_of(function, data), "job_type", None)
    if not isinstance(declared, str):
        raise RegistrationError(
            f"{described(function)}: the class of {data.name!r} declares no job_type: name the type, "
            "or annotate a JobData"
        )
    return declared
