"""What is opened once a worker, and injected by its type."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from redqueue import INJECTED, JobContext, RegistrationError, ServiceRegistry
from redqueue.registry.resources import OpenResources
from redqueue.testing import job_context


class Gateway:
    pass


class Store:
    pass


steps: list[str] = []


async def gateway() -> AsyncIterator[Gateway]:
    steps.append("open gateway")
    yield Gateway()
    steps.append("close gateway")


def store() -> Iterator[Store]:
    steps.append("open store")
    try:
        yield Store()
    finally:
        steps.append("close store")


def connect() -> Gateway:
    raise ConnectionError


def both(a: int, client: Gateway = INJECTED, b: int = 2, *, context: JobContext = INJECTED) -> list[Any]:
    return [a, type(client).__name__, b, context.job_id]


def processor(data: int, context: JobContext, shelf: Store = INJECTED) -> list[Any]:
    return [data, context.job_id, type(shelf).__name__]


@pytest.fixture
def registry() -> ServiceRegistry:
    steps.clear()
    registry = ServiceRegistry()
    assert registry.resource(gateway) is gateway
    registry.resource(store)
    return registry


async def test_they_are_injected_by_the_type_that_they_yield(registry: ServiceRegistry) -> None:
    registry.register_task("both", both)
    registry.register_processor("shelve", processor)
    registry.check()
    opened = OpenResources(registry.resources())
    values = await opened.open()
    task, shelve = registry.task_bindings()["both"], registry.processor_binding("shelve")
    assert task.prepare(b"[1, 5]").call(job_context(), values) == [1, "Gateway", 5, "job-1"]
    assert task.prepare(b'{"a": 1}').call(job_context(), values) == [1, "Gateway", 2, "job-1"]
    assert shelve.prepare(b"3").call(job_context(), values) == [3, "job-1", "Store"]
    await opened.close()
    assert steps == ["open gateway", "open store", "close store", "close gateway"]


@pytest.mark.parametrize("raw", [b'{"a": 1, "client": {}}', b'{"a": 1, "context": null}', b"[1, 2, 3]"])
def test_a_job_can_not_set_what_is_injected(registry: ServiceRegistry, raw: bytes) -> None:
    """X05: resources, too."""
    registry.register_task("both", both)
    registry.check()
    with pytest.raises(Exception, match="both") as caught:
        registry.task_bindings()["both"].prepare(raw)
    assert type(caught.value).__name__ == "InvalidArguments"


def test_what_nobody_yields_is_named() -> None:
    registry = ServiceRegistry()
    registry.resource(store)
    registry.register_task("both", both)
    with pytest.raises(RegistrationError, match=r"both: nothing yields .*Gateway for 'client'.*there are.*Store"):
        registry.check()


async def test_what_is_open_is_closed_when_another_can_not_be_opened() -> None:
    def broken() -> Iterator[Gateway]:
        yield connect()

    steps.clear()
    registry = ServiceRegistry()
    registry.resource(store)
    registry.resource(broken)
    registry.check()
    with pytest.raises(ConnectionError):
        await OpenResources(registry.resources()).open()
    assert steps == ["open store", "close store"]


def test_a_resource_says_what_it_yields_and_takes_nothing() -> None:
    def silent():  # type: ignore[no-untyped-def]
        yield 1

    def takes(url: str) -> Iterator[Store]:
        yield Store()

    registry = ServiceRegistry()
    registry.resource(silent)
    with pytest.raises(RegistrationError):
        registry.check()
    with pytest.raises(RegistrationError, match="takes no parameters"):
        registry.resource(takes)
    with pytest.raises(RegistrationError, match="doesn't yield"):
        registry.resource(both)  # type: ignore[arg-type]


def test_two_of_one_type_are_refused(registry: ServiceRegistry) -> None:
    def another() -> Iterator[Store]:
        yield Store()

    registry.resource(another)
    with pytest.raises(RegistrationError, match="both yield"):
        registry.check()
