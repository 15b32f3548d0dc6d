"""What runs in child processes is sent there, compiled again, and refused when it can't be."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Iterator
from multiprocessing.reduction import ForkingPickler
from typing import Any

import pytest

from redqueue import INJECTED, BaseProcessor, InvalidArguments, JobContext, RegistrationError, ServiceRegistry
from redqueue.registry.binding import Portable, bind_portable
from redqueue.testing import job_context


class Store:
    name = "store"


def store() -> Iterator[Store]:
    yield Store()


def double(number: int) -> int:
    return number * 2


async def awaited(number: int, context: JobContext = INJECTED) -> list[Any]:
    return [number, context.job_id]


def with_store(data: int, shelf: Store = INJECTED) -> list[Any]:
    return [data, shelf.name]


class Finder:
    def __init__(self, hits: int = 0) -> None:
        self.hits = hits

    def find(self, words: str) -> list[str]:
        return [words] * self.hits


class Locked:
    def __init__(self) -> None:
        self.lock = threading.Lock()

    def run(self, number: int) -> int:
        return number

    def __call__(self, number: int) -> int:
        return number


class Parts(BaseProcessor[int, int]):
    def process(self, data: int, context: JobContext, /) -> int:
        return data + 1


class LockedParts(Parts):
    def __init__(self) -> None:
        self.lock = threading.Lock()


class WantsMore(BaseProcessor[int, int]):
    def process(self, data: int, context: JobContext, /, shelf: Store = INJECTED) -> int:
        return data


def sent(thing: Any) -> Any:
    """As a child process gets it."""
    return pickle.loads(ForkingPickler.dumps(thing))


def test_all_that_runs_in_processes_is_compiled_again() -> None:
    registry = ServiceRegistry()
    registry.resource(store)
    registry.register_task("double", double, execution="process", retry_on=(OSError,), give_up_on=(KeyError,))
    registry.register_task("here", double)
    registry.register_processor("shelve", with_store, execution="process")
    registry.register_processor("parts", Parts(), execution="process")
    registry.check()
    portables = sent(dict(registry.process_entries()))
    assert {key: (one.kind, one.name) for key, one in portables.items()} == {
        "task double": ("call", "double"),
        "processor shelve": ("processor", "with_store"),
        "processor parts": ("processor", "Parts"),
    }
    bindings = {key: bind_portable(portable) for key, portable in portables.items()}
    assert {binding.execution for binding in bindings.values()} == {"process"}
    here = registry.task_bindings()["double"].prepare(b"[2]")
    there = bindings["task double"]
    assert there.prepare(here.raw).call(job_context()) == here.call(job_context()) == 4
    assert (there.options["retry_on"], there.options["give_up_on"]) == ((OSError,), (KeyError,))
    assert bindings["processor shelve"].prepare(b"1").call(job_context(), {Store: Store()}) == [1, "store"]
    assert bindings["processor parts"].prepare(b"1").call(job_context()) == 2
    assert bindings["processor parts"].on_failed is not None
    with pytest.raises(InvalidArguments, match=r"^double: \$\.number: expected `int`, got `str`$"):
        there.prepare(b'["x"]')


def test_a_bound_method_takes_its_object_along() -> None:
    registry = ServiceRegistry()
    registry.register_service("S", Finder(2), ["find"])
    binding = bind_portable(sent(Portable("call", "S.find", Finder(2).find, None, ())))
    assert binding.prepare(b'["x"]').call(job_context()) == ["x", "x"]
    assert "retry_on" not in binding.options


async def test_a_coroutine_function_may_run_in_a_process() -> None:
    registry = ServiceRegistry()
    registry.register_task("awaited", awaited, execution="process")
    registry.check()
    assert registry.task_bindings()["awaited"].execution == "process"
    binding = bind_portable(sent(registry.process_entries()["task awaited"]))
    assert binding.is_coroutine
    assert await binding.prepare(b"[7]").call(job_context()) == [7, job_context().job_id]  # type: ignore[misc]


def test_bindings_say_where_they_run_and_have_a_key_of_their_own() -> None:
    registry = ServiceRegistry()
    registry.register_task("same", double)
    registry.register_task("awaited", awaited)
    registry.register_processor("same", double, execution="thread")
    registry.register_service("same", Finder(), ["find"])
    registry.check()
    found = [
        *registry.task_bindings().values(),
        *(registry.service_bindings("same") or {}).values(),
        registry.processor_binding("same"),
    ]
    assert {one.key: one.execution for one in found} == {
        "task same": "thread",
        "task awaited": "loop",
        "service same.find": "thread",
        "processor same": "thread",
    }
    assert registry.process_entries() == {}


def nested() -> Callable[..., Any]:
    def inside(number: int) -> int:
        return number

    return inside


def as_task(function: Any, **options: Any) -> Callable[[ServiceRegistry], None]:
    return lambda registry: registry.register_task("t", function, execution="process", **options)


def as_processor(processor: Any) -> Callable[[ServiceRegistry], None]:
    return lambda registry: registry.register_processor("p", processor, execution="process")


def local_error() -> type[Exception]:
    class Local(Exception):
        pass

    return Local


@pytest.mark.parametrize(
    ("register", "name"),
    [
        (as_task(nested()), r"nested\.<locals>\.inside"),
        (as_task(lambda number: number), "<lambda>"),
        (as_task(Locked()), "Locked"),
        (as_task(Locked().run), r"Locked\.run"),
        (as_processor(nested()), r"nested\.<locals>\.inside"),
        (as_processor(LockedParts()), "LockedParts"),
        (as_task(double, retry_on=(local_error(),)), "an exception class of .*double"),
    ],
)
def test_what_cannot_be_sent_is_refused_when_the_worker_starts(
    register: Callable[[ServiceRegistry], None], name: str
) -> None:
    registry = ServiceRegistry()
    register(registry)
    with pytest.raises(RegistrationError, match=f"{name} can't be sent to a child process.*define it at module level"):
        registry.check()


def test_so_is_a_resource_that_cannot_be_sent() -> None:
    def inside() -> Iterator[Store]:
        yield Store()

    registry = ServiceRegistry()
    registry.resource(inside)
    registry.register_task("here", double)
    registry.register_processor("shelve", with_store, execution="process")
    with pytest.raises(RegistrationError, match=r"the resource .*inside can't be sent to a child process"):
        registry.check()


def test_nothing_is_injected_into_a_processor_object() -> None:
    with pytest.raises(RegistrationError, match="nothing fills 'shelf': let the object hold what it needs"):
        ServiceRegistry().register_processor("p", WantsMore())


def test_a_resource_that_is_not_open_is_named() -> None:
    registry = ServiceRegistry()
    registry.resource(store)
    registry.register_processor("shelve", with_store)
    registry.check()
    with pytest.raises(RegistrationError, match=r"with_store takes the resource .*Store, which isn't open"):
        registry.processor_binding("shelve").prepare(b"1").call(job_context())


def test_entries_are_known_after_check() -> None:
    for ask in (ServiceRegistry().process_entries, ServiceRegistry().resources):
        with pytest.raises(RegistrationError, match="call check"):
            ask()
