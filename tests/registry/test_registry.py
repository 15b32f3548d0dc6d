"""The allow-list holds what was registered, and nothing else."""

from __future__ import annotations

import gc
import logging
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, ClassVar, cast

import msgspec
import pytest

from redqueue.context import INJECTED, JobContext
from redqueue.errors import InvalidName, InvalidOption, NotRegistered, RegistrationError, UnknownJobType
from redqueue.registry import ServiceRegistry, job_method, job_type_of
from redqueue.shapes import JobData


class Finder:
    def __init__(self, hits: int = 1) -> None:
        self.hits = hits

    async def search(self, query: str) -> int:
        return self.hits

    def get_result(self, number: int) -> int:
        return number

    def secret(self) -> str:
        return "secret"


class Marked:
    made: ClassVar[int] = 0

    def __init__(self) -> None:
        type(self).made += 1

    @job_method()
    async def search(self, query: str, user_id: str) -> list[str]:
        return [query, user_id]

    @job_method(retries=1)
    def get_result(self, number: int, *, context: JobContext = INJECTED) -> str:
        return f"{number} {context.attempt}"

    def secret(self) -> str:
        return ""


class SmsData(JobData[int]):
    job_type: ClassVar[str] = "sms"
    to: str


class Untyped(JobData[int]):
    to: str


def plain(data: int) -> int:
    return data


def double(number: int) -> int:
    return number * 2


async def awaited(number: int) -> int:
    return number


def test_the_applications_registry_is_one_for_all_threads() -> None:
    gate = threading.Barrier(16)

    def get() -> ServiceRegistry:
        gate.wait()
        return ServiceRegistry.get_instance()

    with ThreadPoolExecutor(16) as pool:
        found = [future.result() for future in [pool.submit(get) for _ in range(16)]]
    assert {id(one) for one in found} == {id(ServiceRegistry.get_instance())}
    assert ServiceRegistry() is not found[0]


def test_named_methods_are_callable_and_no_others() -> None:
    registry, finder = ServiceRegistry(), Finder()
    registry.register_service("FinderService", finder, [finder.search, "get_result"])
    assert registry.get_registered_services() == ["FinderService"]
    assert registry.get_service_methods("FinderService") == ["get_result", "search"]
    registry.check()
    assert sorted(registry.service_bindings("FinderService") or ()) == ["get_result", "search"]
    assert registry.service_bindings("finderservice") is None


def test_a_method_that_is_not_there_is_logged_and_the_others_stay(caplog: pytest.LogCaptureFixture) -> None:
    registry = ServiceRegistry()
    registry.register_service("ExportService", Finder(), ["search", "exportToCSV"])
    assert caplog.record_tuples == [
        ("redqueue.registry", logging.WARNING, "Method exportToCSV not found on service ExportService")
    ]
    assert registry.get_service_methods("ExportService") == ["search"]


def test_strict_refuses_a_method_that_is_not_there() -> None:
    registry = ServiceRegistry()
    with pytest.raises(RegistrationError, match="Method exportToCSV not found on service ExportService"):
        registry.register_service("ExportService", Finder(), ["search", "exportToCSV"], strict=True)
    assert registry.get_registered_services() == []


def test_one_text_is_not_a_list_of_methods() -> None:
    with pytest.raises(RegistrationError, match=r"write \['search'\]"):
        ServiceRegistry().register_service("S", Finder(), "search")


def test_a_method_of_another_object_is_refused() -> None:
    finder, other = Finder(), Finder()
    for method in (other.search, Finder.search, double, len):
        with pytest.raises(RegistrationError, match="is not a method of"):
            ServiceRegistry().register_service("S", finder, [cast("Any", method)])


@pytest.mark.parametrize("service", [None, Finder])
def test_a_service_is_an_object(service: object) -> None:
    with pytest.raises(RegistrationError, match="not an object"):
        ServiceRegistry().register_service("S", service, ["search"])


def test_unknown_services_are_named_with_those_there_are() -> None:
    registry = ServiceRegistry()
    with pytest.raises(NotRegistered, match="there are: none"):
        registry.get_service_methods("B")
    registry.register_service("A", Finder(), ["search"])
    with pytest.raises(NotRegistered, match="no service 'B'; there are: A"):
        registry.get_service_methods("B")


def test_registering_the_same_again_changes_nothing() -> None:
    registry, finder = ServiceRegistry(), Finder()
    for _ in range(2):
        registry.register_service("S", finder, ["search"])
        registry.register_task("double", double, retries=1)
        registry.register_task("result", finder.get_result)
        registry.register_processor("plain", plain)
        registry.service("M")(Marked)
    assert registry.get_registered_services() == ["M", "S"]
    assert registry.tasks() == ["double", "result"]


def test_the_same_name_for_something_else_is_refused() -> None:
    registry, finder = ServiceRegistry(), Finder()
    registry.register_service("S", finder, ["search"])
    registry.register_task("double", double)
    registry.register_processor("plain", plain)
    registry.service("M")(Marked)
    for wrong in (
        lambda: registry.register_service("S", Finder(), ["search"]),
        lambda: registry.register_service("S", finder, ["search", "secret"]),
        lambda: registry.register_task("double", awaited),
        lambda: registry.register_task("double", double, retries=1),
        lambda: registry.register_processor("plain", double),
        lambda: registry.service("M")(Finder),
        lambda: registry.service("M", factory=Marked)(Marked),
    ):
        with pytest.raises(RegistrationError, match="registered already"):
            wrong()
    assert registry.get_service_methods("S") == ["search"]


def test_decorators_return_what_they_got() -> None:
    registry = ServiceRegistry()
    assert registry.task()(double) is double
    assert registry.processor("plain")(plain) is plain
    assert registry.service("Marked")(Marked) is Marked
    assert registry.tasks() == ["double"]


def test_a_declared_class_is_made_once_when_the_worker_starts() -> None:
    registry = ServiceRegistry()
    registry.service("Marked")(Marked)
    before = Marked.made
    assert registry.get_service_methods("Marked") == ["get_result", "search"]
    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(registry.check) for _ in range(8)]:
            future.result()
    assert Marked.made == before + 1
    assert (registry.service_bindings("Marked") or {})["get_result"].options == {"retries": 1}


def test_a_factory_makes_the_object() -> None:
    registry, made = ServiceRegistry(), Marked()
    registry.service("Marked", factory=lambda: made)(Marked)
    registry.check()
    assert registry.name_of(made.search) == ("service", "Marked", "search")


def test_a_given_object_wins_in_either_order() -> None:
    given = Marked()
    for declare_first in (True, False):
        registry = ServiceRegistry()
        if declare_first:
            registry.service("Marked")(Marked)
        registry.register_service("Marked", given, [given.search] if declare_first else None)
        if not declare_first:
            registry.service("Marked")(Marked)
        before = Marked.made
        registry.check()
        assert Marked.made == before
        expected = ["search"] if declare_first else ["get_result", "search"]
        assert registry.get_service_methods("Marked") == expected


def test_a_class_that_cannot_be_made_says_what_to_do() -> None:
    class Needs:
        def __init__(self, gateway: object) -> None: ...

        @job_method()
        def run(self) -> None: ...

    registry = ServiceRegistry()
    registry.service("Needs")(Needs)
    with pytest.raises(RegistrationError, match=r"'Needs' could not be made .*gateway.* factory"):
        registry.check()
    registry.register_service("Needs", Needs(1))
    registry.check()
    assert registry.get_service_methods("Needs") == ["run"]


def test_a_class_without_marks_offers_nothing() -> None:
    registry = ServiceRegistry()
    with pytest.raises(RegistrationError, match="marks no method"):
        registry.register_service("S", Finder())
    registry.service("S")(Finder)
    with pytest.raises(RegistrationError, match="marks no method"):
        registry.check()


def test_the_processors_type_may_come_from_its_data() -> None:
    registry = ServiceRegistry()

    @registry.processor()
    def send(data: SmsData, context: JobContext) -> int:
        return 1

    assert registry.job_types() == ["sms"]
    untyped_data: Any = lambda data: data  # noqa: E731
    for bad in (plain, untyped_data):
        with pytest.raises(RegistrationError, match="declares no job_type"):
            registry.processor()(bad)

    def untyped(data: Untyped) -> None: ...

    with pytest.raises(RegistrationError, match="declares no job_type"):
        registry.processor()(untyped)


def test_decorators_without_parentheses_are_refused() -> None:
    registry = ServiceRegistry()
    for decorator in (registry.processor, registry.task, registry.service):
        with pytest.raises((InvalidName, RegistrationError)):
            cast("Any", decorator)(plain)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "x" * 129,
        "a\nb",
        "a\x00",
        "a\x1b[31m",
        "\ud800",
        "e\u0301",
        "a\u202eb",
        "a\u2028b",
        "\u200bA",
        7,
        None,
        b"a",
    ],
)
def test_names_that_a_log_could_not_show_are_refused(name: Any) -> None:
    registry = ServiceRegistry()
    for register in (
        lambda: registry.register_service(name, Finder(), ["search"]),
        lambda: registry.service(name)(Marked),
        lambda: registry.register_task(name, double),
        lambda: registry.register_processor(name, plain),
    ):
        with pytest.raises(InvalidName) as caught:
            register()
        assert str(caught.value).isprintable()
    assert not registry.has_generic_tasks and registry.job_types() == []


def test_names_may_be_in_any_language() -> None:
    registry = ServiceRegistry()
    registry.register_task("größe ändern", double)
    registry.register_service("検索", Finder(), ["search"])
    assert registry.has_generic_tasks


@pytest.mark.parametrize("job_type", ["a b", "a:b", "{a}", "é", "x" * 65])
def test_a_job_type_must_be_a_queues_name(job_type: str) -> None:
    with pytest.raises(InvalidName):
        ServiceRegistry().register_processor(job_type, plain)


def test_the_type_of_generic_tasks_is_reserved() -> None:
    with pytest.raises(RegistrationError, match="generic-task"):
        ServiceRegistry().register_processor("generic-task", plain)


@pytest.mark.parametrize(
    ("options", "option"),
    [
        ({"retrys": 1}, "retrys"),
        ({"retries": -1}, "retries"),
        ({"retries": True}, "retries"),
        ({"delay": 1}, "delay"),
        ({"execution": "async"}, "execution"),
        ({"retry_on": ValueError}, "retry_on"),
        ({"retry_on": (1,)}, "retry_on"),
        ({"give_up_on": (KeyboardInterrupt,)}, "give_up_on"),
        ({"give_up_on": [ValueError]}, "give_up_on"),
    ],
)
def test_options_are_checked_at_registration(options: dict[str, Any], option: str) -> None:
    registry = ServiceRegistry()
    for register in (
        lambda: registry.register_task("t", double, **options),
        lambda: registry.task("t", **options)(double),
        lambda: registry.register_processor("p", plain, **options),
        lambda: job_method(**options),
    ):
        with pytest.raises(InvalidOption) as caught:
            register()
        assert caught.value.option == option


def test_a_function_for_child_processes_must_be_one_that_they_can_import() -> None:
    registry = ServiceRegistry()
    registry.register_task("t", double, execution="process")
    registry.check()
    assert registry.process_entries()["task t"].target is double
    for local in (lambda data: data, Holder().held):
        broken = ServiceRegistry()
        broken.register_task("t", local, execution="process")
        with pytest.raises(RegistrationError, match="define it at module level"):
            broken.check()


class Holder:
    """An object that can't be sent."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def held(self, data: int) -> int:
        return data


def test_an_async_function_cannot_run_in_a_thread() -> None:
    registry = ServiceRegistry()
    with pytest.raises(InvalidOption, match="async"):
        registry.register_task("t", awaited, execution="thread")
    with pytest.raises(InvalidOption, match="async"):
        registry.register_task("t", partial(awaited, 1), execution="thread")

    class Service:
        @job_method(execution="thread")
        async def run(self) -> None: ...

    with pytest.raises(InvalidOption, match="async"):
        registry.service("S")(Service)
    registry.register_task("t", double, execution="thread")


def test_options_reach_the_binding_without_those_that_are_none() -> None:
    registry = ServiceRegistry()
    registry.register_task("t", double, retries=2, give_up_on=(ValueError,), **cast("Any", {"backoff": None}))
    registry.check()
    binding = registry.task_bindings()["t"]
    assert binding.options == {"retries": 2, "give_up_on": (ValueError,)}
    with pytest.raises(TypeError):
        cast("Any", binding.options)["retries"] = 3


def swallows(data: int, *rest: int) -> None: ...


def smuggles(data: int, **rest: int) -> None: ...


def yields(data: int) -> Any:
    yield data


async def ayields(data: int) -> Any:
    yield data


@pytest.mark.parametrize("function", [swallows, smuggles, yields, ayields, SmsData, 7, "os.system", max])
def test_what_is_no_plain_function_with_named_parameters_is_refused(function: Any) -> None:
    registry = ServiceRegistry()
    with pytest.raises(RegistrationError):
        registry.register_task("t", function)
    with pytest.raises(RegistrationError):
        registry.register_processor("p", function)
    assert registry.tasks() == registry.job_types() == []


def test_methods_that_take_whatever_comes_are_refused() -> None:
    class Service:
        def run(self, *args: int) -> None: ...

        def walk(self, **kwargs: int) -> None: ...

    for method in ("run", "walk"):
        with pytest.raises(RegistrationError, match="a job could pass anything"):
            ServiceRegistry().register_service("S", Service(), [method])


def test_a_checked_registry_is_frozen() -> None:
    """X03: nothing is added once a worker started."""
    registry = ServiceRegistry()
    registry.register_task("double", double)
    registry.check()
    registry.check()
    for late in (
        lambda: registry.register_task("late", double),
        lambda: registry.register_service("S", Finder(), ["search"]),
        lambda: registry.service("M")(Marked),
        lambda: registry.register_processor("p", plain),
    ):
        with pytest.raises(RegistrationError, match="registered after a worker started"):
            late()
    assert registry.tasks() == ["double"] and registry.job_types() == []


def test_a_failed_check_leaves_the_registry_open() -> None:
    registry = ServiceRegistry()

    def bad(data: complex) -> None: ...

    registry.register_processor("bad", bad)
    with pytest.raises(RegistrationError, match="complex"):
        registry.check()
    registry.register_task("double", double)


def test_a_factory_cannot_register_or_check() -> None:
    registry = ServiceRegistry()

    def factory() -> Marked:
        registry.register_task("late", double)
        return Marked()

    registry.service("M", factory=factory)(Marked)
    with pytest.raises(RegistrationError, match="registered after a worker started"):
        registry.check()
    again = ServiceRegistry()
    again.service("M", factory=cast("Any", again.check))(Marked)
    with pytest.raises(RegistrationError, match="by itself"):
        again.check()


def test_lookups_before_check_say_so() -> None:
    with pytest.raises(RegistrationError, match="call check"):
        ServiceRegistry().processor_binding("sms")


def test_an_unknown_job_type_is_named() -> None:
    registry = ServiceRegistry()
    registry.register_processor("plain", plain)
    registry.check()
    assert registry.processor_binding("plain").name == "plain"
    for name in ("Plain", "os.system", "x\n", "y" * 10**6):
        with pytest.raises(UnknownJobType) as caught:
            registry.processor_binding(name)
        assert str(caught.value).isprintable() and len(str(caught.value)) < 200


def test_name_of_bound_methods_goes_by_the_object() -> None:
    registry, finder = ServiceRegistry(), Finder()
    registry.register_service("F", finder, ["search"])
    registry.register_task("double", double)
    assert registry.name_of(finder.search) == ("service", "F", "search")
    assert registry.name_of(double) == ("task", "double")
    for unknown in (finder.secret, Finder().search, Finder.search, awaited, len, partial(double, 1)):
        with pytest.raises(NotRegistered):
            registry.name_of(unknown)
    registry.register_task("later", awaited)
    assert registry.name_of(awaited) == ("task", "later")


def test_name_of_a_declared_class_takes_any_object_of_it() -> None:
    registry = ServiceRegistry()
    registry.service("M")(Marked)
    finder = Marked()

    class Sub(Marked):
        async def search(self, query: str, user_id: str) -> list[str]:
            return []

    assert registry.name_of(finder.search) == ("service", "M", "search")
    assert registry.name_of(Sub().get_result) == ("service", "M", "get_result")
    for unknown in (finder.secret, Marked.search, Sub().search):
        with pytest.raises(NotRegistered):
            registry.name_of(unknown)
    registry.register_service("M", finder, ["search"])
    assert registry.name_of(Marked().search) == ("service", "M", "search")
    with pytest.raises(NotRegistered):
        registry.name_of(finder.get_result)


def test_name_of_what_has_two_names_asks_for_one() -> None:
    registry = ServiceRegistry()
    registry.register_task("a", double)
    registry.register_task("b", double)
    with pytest.raises(NotRegistered, match="registered as a, b"):
        registry.name_of(double)


def test_job_type_of_knows_every_registry() -> None:
    def send(data: int) -> None: ...

    with pytest.raises(NotRegistered, match="registered as no processor"):
        job_type_of(send)
    ServiceRegistry().register_processor("send", send)
    ServiceRegistry().register_processor("send", send)
    gc.collect()
    assert job_type_of(send) == "send"
    ServiceRegistry().register_processor("other", send)
    with pytest.raises(NotRegistered, match=r"for other, send: name the job type"):
        job_type_of(send)


def test_job_type_of_a_bound_method() -> None:
    class Sender:
        def send(self, data: int) -> None: ...

    sender = Sender()
    ServiceRegistry().register_processor("bound", sender.send)
    assert job_type_of(sender.send) == "bound"


@pytest.mark.parametrize("thing", ["sms", 7, None, [], Finder])
def test_job_type_of_what_is_no_processor(thing: object) -> None:
    with pytest.raises(NotRegistered):
        job_type_of(thing)


def test_job_type_of_keeps_no_function_alive() -> None:
    def send(data: int) -> None: ...

    ServiceRegistry().register_processor("gone", send)
    seen = msgspec.json.encode(job_type_of(send))
    watch = weakref.ref(send)
    del send
    gc.collect()
    assert watch() is None and seen == b'"gone"'
