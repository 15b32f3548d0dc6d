"""Only what is named can be called, and finding it runs none of the service's code."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from redqueue.context import JobContext
from redqueue.errors import MethodNotAllowed, RegistrationError
from redqueue.processors.generic_task import resolve
from redqueue.registry import ServiceRegistry, job_method

NO_CONTEXT: JobContext = JobContext.__new__(JobContext)


class Base:
    @job_method()
    def inherited(self) -> str:
        return "base"

    def plain_inherited(self) -> str:
        return "base"


class Service(Base):
    attribute = 7
    callable_attribute = print

    def __init__(self) -> None:
        self.own = lambda: "own"

    def one(self) -> str:
        return "one"

    @job_method()
    def two(self) -> str:
        return "two"

    @staticmethod
    def still() -> str:
        return "still"

    @classmethod
    def of_class(cls) -> str:
        return cls.__name__

    @property
    def touched(self) -> str:
        raise AssertionError("a property was read")

    def _private(self) -> str:
        return "private"

    def __dunder__(self) -> str:
        return "dunder"

    class Inner:
        def __call__(self) -> str:
            return "inner"


def called(registry: ServiceRegistry, method: str) -> object:
    data = msgspec.json.encode({"label": "x", "service": "S", "method": method})
    prepared, _ = resolve(registry, data, {})
    return prepared.call(NO_CONTEXT)


GOOD = ["one", "two", "inherited", "plain_inherited", "still", "of_class"]


@pytest.mark.parametrize("method", GOOD)
def test_a_named_method_is_called(method: str) -> None:
    registry = ServiceRegistry()
    registry.register_service("S", Service(), [method])
    registry.check()
    assert called(registry, method) in ("one", "two", "base", "still", "Service")


@pytest.mark.parametrize(
    ("method", "why"),
    [
        ("_private", "is private"),
        ("__dunder__", "is private"),
        ("__init__", "is private"),
        ("__class__", "is private"),
        ("touched", "is a property"),
        ("attribute", "is of type int"),
        ("callable_attribute", "not a method"),
        ("Inner", "not a method"),
        ("one.two", "is not the name"),
        ("one\x00", "is not the name"),
        ("", "is not the name"),
        ("1", "is not the name"),
        ("x" * 200, "is not the name"),
    ],
)
def test_what_is_no_public_method_is_refused(method: str, why: str) -> None:
    """X03: at registration."""
    registry = ServiceRegistry()
    with pytest.raises(RegistrationError, match=why) as caught:
        registry.register_service("S", Service(), [method])
    assert str(caught.value).isprintable()
    assert registry.get_registered_services() == []


def test_an_attribute_of_the_object_alone_is_no_method(caplog: pytest.LogCaptureFixture) -> None:
    registry = ServiceRegistry()
    registry.register_service("S", Service(), ["own", "one"])
    assert registry.get_service_methods("S") == ["one"]
    assert "Method own not found on service S" in caplog.messages


def test_marks_count_on_the_class_itself_only() -> None:
    registry = ServiceRegistry()
    registry.register_service("S", Service())
    assert registry.get_service_methods("S") == ["two"]

    class Nothing(Service):
        def one(self) -> str:
            return "sub"

    with pytest.raises(RegistrationError, match="marks no method"):
        ServiceRegistry().register_service("S", Nothing())


def test_a_subclass_cannot_slip_in_another_method() -> None:
    """X03: what was registered is what runs."""

    class Sub(Service):
        def two(self) -> str:
            return "slipped in"

    registry = ServiceRegistry()
    registry.service("S")(Service)
    with pytest.raises(RegistrationError, match="has another two"):
        registry.register_service("S", Sub())

    class MarkedSub(Service):
        @job_method()
        def two(self) -> str:
            return "meant"

        @job_method()
        def three(self) -> str:
            return "not declared"

    registry.register_service("S", MarkedSub())
    registry.check()
    assert registry.get_service_methods("S") == ["two"]
    assert called(registry, "two") == "meant"


def test_a_private_method_cannot_be_marked() -> None:
    class Private:
        @job_method()
        def _run(self) -> None: ...

    with pytest.raises(RegistrationError, match="private"):
        ServiceRegistry().service("P")(Private)


def test_marked_static_and_class_methods_count() -> None:
    class Kinds:
        @staticmethod
        @job_method()
        def still() -> str:
            return "still"

        @classmethod
        @job_method(retries=2)
        def of_class(cls) -> str:
            return cls.__name__

    registry = ServiceRegistry()
    registry.register_service("S", Kinds())
    registry.check()
    assert called(registry, "still") == "still" and called(registry, "of_class") == "Kinds"
    assert (registry.service_bindings("S") or {})["of_class"].options == {"retries": 2}
    with pytest.raises(RegistrationError, match="next to the def"):
        job_method()(staticmethod(lambda: 1))


def test_marks_change_nothing_else() -> None:
    def run(self: object) -> int:
        return 1

    assert job_method()(run) is run and run(None) == 1


def test_what_was_registered_is_what_runs() -> None:
    class Changing:
        def run(self) -> str:
            return "registered"

    service = Changing()
    registry = ServiceRegistry()
    registry.register_service("S", service, ["run"])
    Changing.run = lambda self: "changed"  # type: ignore[method-assign]
    service.run = lambda: "changed"  # type: ignore[method-assign]
    registry.check()
    assert called(registry, "run") == "registered"


def test_dispatch_reads_no_attribute_of_the_service() -> None:
    """X03: no attribute is reached by a name from a job."""
    seen: list[str] = []

    class Watched:
        def run(self) -> str:
            return "ran"

        def __getattribute__(self, name: str) -> Any:
            seen.append(name)
            return object.__getattribute__(self, name)

        def __getattr__(self, name: str) -> Any:
            seen.append(name)
            raise AttributeError(name)

    registry = ServiceRegistry()
    registry.register_service("S", Watched(), ["run"])
    registry.check()
    seen.clear()
    assert called(registry, "run") == "ran"
    for method in ("__class__", "__init__", "secret", "run.__globals__"):
        with pytest.raises(MethodNotAllowed):
            called(registry, method)
    assert seen == []


@given(named=st.sets(st.sampled_from(GOOD)), asked=st.sampled_from([*dir(Service), "own", "os.system", "ONE", "one "]))
def test_the_callable_set_is_the_registered_set(named: set[str], asked: str) -> None:
    """X03: whatever a service has."""
    registry = ServiceRegistry()
    registry.register_service("S", Service(), sorted(named))
    registry.check()
    assert set(registry.get_service_methods("S")) == named
    if asked in named:
        called(registry, asked)
    else:
        with pytest.raises(MethodNotAllowed):
            called(registry, asked)
