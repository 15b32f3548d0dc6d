"""A generic-task job runs what the registry names, and nothing else."""

from __future__ import annotations

import sys
from typing import Any

import msgspec
import pytest

from redqueue.context import INJECTED, JobContext
from redqueue.errors import InvalidArguments, InvalidName, MethodNotAllowed, UnknownJobType
from redqueue.processors.generic_task import GenericTaskHead, resolve
from redqueue.registry import ServiceRegistry
from redqueue.shapes import GenericTaskJobData
from redqueue.tasks import pure_tasks

CONTEXT: JobContext = JobContext.__new__(JobContext)
HOSTILE = [
    "os.system",
    "eval",
    "builtins.eval",
    "__import__",
    "svc.method.__globals__",
    "svc..method",
    "search\x00",
    "search\n",
    "Search",
    "SEARCH",
    " search",
    "se\u0430rch",
    "\uff53earch",
    "search\u200b",
    "\u202esearch",
    "__class__",
    "__init__",
    "secret",
    "",
    "x" * 10**7,
]


class Finder:
    entered = 0

    def search(self, query: dict[str, str], user_id: str) -> list[str]:
        Finder.entered += 1
        return [query["q"], user_id]

    def secret(self) -> str:
        raise AssertionError("entered")


def named(invoice: int, context: JobContext = INJECTED) -> Any:
    return invoice, context


@pytest.fixture
def registry() -> ServiceRegistry:
    registry = ServiceRegistry()
    registry.register_service("BusinessFinderService", Finder(), ["search"])
    registry.register_service("Empty", Finder(), [])
    registry.register_task("named", named)
    registry.check()
    return registry


def run(registry: ServiceRegistry, **data: Any) -> Any:
    prepared, _ = resolve(registry, msgspec.json.encode({"label": "x", **data}), pure_tasks())
    return prepared.call(CONTEXT)


def test_a_service_method_is_called(registry: ServiceRegistry) -> None:
    data = GenericTaskJobData(
        label="Business Search",
        service="BusinessFinderService",
        method="search",
        parameters=[{"q": "x"}, "u"],
        context={"source": "upload"},
        sub_account_id="sub_123",
        user_id="user_456",
    )
    prepared, head = resolve(registry, msgspec.json.encode(data), {})
    assert prepared.binding.name == "BusinessFinderService.search"
    assert prepared.call(CONTEXT) == ["x", "u"]
    assert (head.label, head.context, head.sub_account_id, head.user_id) == (
        "Business Search",
        {"source": "upload"},
        "sub_123",
        "user_456",
    )


def test_the_worker_reads_every_field_that_a_producer_writes() -> None:
    assert GenericTaskHead.__struct_fields__ == GenericTaskJobData.__struct_fields__
    assert GenericTaskHead.__struct_encode_fields__ == GenericTaskJobData.__struct_encode_fields__


def test_a_task_is_called_by_position_or_name(registry: ServiceRegistry) -> None:
    assert run(registry, function="named", parameters=[7]) == (7, CONTEXT)
    assert run(registry, function="named", parameters={"invoice": 7}) == (7, CONTEXT)


def test_builtin_tasks_are_known_unless_the_registry_has_the_name(registry: ServiceRegistry) -> None:
    assert run(registry, function="calculate_sum", parameters=[[1, 2]]) == 3
    mine = ServiceRegistry()
    mine.register_task("calculate_sum", lambda numbers: "mine")
    mine.check()
    assert run(mine, function="calculate_sum", parameters=[[1, 2]]) == "mine"


def test_a_method_that_is_not_allowed_is_said_with_those_that_are(registry: ServiceRegistry) -> None:
    with pytest.raises(MethodNotAllowed) as caught:
        run(registry, service="BusinessFinderService", method="searchBusinesses")
    assert str(caught.value) == (
        "Service method 'BusinessFinderService.searchBusinesses' not found in registry; it has: search"
    )
    with pytest.raises(MethodNotAllowed, match="not found in registry; it has: none"):
        run(registry, service="Empty", method="search")


def test_unknown_services_and_tasks_may_be_a_newer_workers(registry: ServiceRegistry) -> None:
    with pytest.raises(UnknownJobType, match=r"^service 'X' is registered in no worker that saw this job"):
        run(registry, service="X", method="search")
    with pytest.raises(UnknownJobType, match=r"^task 'X' is registered in no worker that saw this job"):
        run(registry, function="X")


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name)[:30])
def test_hostile_names_run_and_import_nothing(registry: ServiceRegistry, name: str) -> None:
    """X02: a name is looked up in the registry, and nowhere else."""
    modules, entered = set(sys.modules), Finder.entered
    for data, error in (
        ({"service": "BusinessFinderService", "method": name}, MethodNotAllowed),
        ({"service": name, "method": "search"}, UnknownJobType),
        ({"service": name, "method": name}, UnknownJobType),
        ({"function": name}, UnknownJobType),
    ):
        with pytest.raises(error) as caught:
            run(registry, parameters=[{"q": "x"}, "u"], **data)
        assert str(caught.value).isprintable() and len(str(caught.value)) < 600
    assert set(sys.modules) == modules and Finder.entered == entered


@pytest.mark.parametrize("name", [one for one in HOSTILE if not one.isprintable() or not one or len(one) > 128])
def test_what_could_not_be_shown_cannot_be_registered(name: str) -> None:
    with pytest.raises(InvalidName):
        ServiceRegistry().register_task(name, named)


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"function": "named", "service": "BusinessFinderService", "method": "search"},
        {"function": "named", "method": "search"},
        {"service": "BusinessFinderService"},
        {"method": "search"},
        {"function": None, "service": None, "method": None},
    ],
)
def test_a_job_names_a_method_or_a_task(registry: ServiceRegistry, data: dict[str, Any]) -> None:
    with pytest.raises(InvalidArguments, match="name either function, or service and method"):
        run(registry, **data)


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b'{"function": "named"}', "$: missing field 'label'"),
        (b'{"label": 7}', "$.label: expected `str`, got `int`"),
        (b'{"label": "x", "function": "named", "timeout": 1}', "$: unknown field 'timeout'"),
        (b'{"label": "x", "function": ["named"]}', "$.function: expected `str | null`, got `array`"),
        (b'{"label": "x", "context": []}', "$.context: expected `object | null`, got `array`"),
        (b"[]", "$: expected `object`, got `array`"),
        (b"null", "$: expected `object`, got `null`"),
        (b"{", "$: not JSON"),
        (b'{"label": "x", "function": "named", "parameters": ' + b"[" * 100, "$: nested deeper than 64"),
        (b'{"label": "x", "context": {"a": ' + b"1" * 21 + b"}}", "$: an integer of more than 20 digits"),
    ],
)
def test_data_of_another_shape_is_refused(registry: ServiceRegistry, raw: bytes, problem: str) -> None:
    with pytest.raises(InvalidArguments) as caught:
        resolve(registry, raw, {})
    assert str(caught.value).startswith(f"generic-task: {problem}")


@pytest.mark.parametrize(
    ("parameters", "problem"),
    [
        ([{"q": 7}, "u"], "$.query[...]: expected `str`, got `int`"),
        ([{"q": "x"}], "missing argument 'user_id'"),
        ({"query": {}, "user_id": "u", "self": 1}, "$: unknown field 'self'"),
        ("abc", "$: parameters are an array, or an object by name"),
        (None, "$: parameters are an array, or an object by name"),
    ],
)
def test_arguments_that_do_not_fit_enter_nothing(registry: ServiceRegistry, parameters: Any, problem: str) -> None:
    entered = Finder.entered
    with pytest.raises(InvalidArguments) as caught:
        run(registry, service="BusinessFinderService", method="search", parameters=parameters)
    assert str(caught.value) == f"BusinessFinderService.search: {problem}"
    assert Finder.entered == entered


def test_the_label_is_never_looked_up(registry: ServiceRegistry) -> None:
    with pytest.raises(InvalidArguments):
        resolve(registry, b'{"label": "named"}', pure_tasks())
