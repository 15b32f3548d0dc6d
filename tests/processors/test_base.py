"""A processor with parts: in this order, all plain or a coroutine."""

from __future__ import annotations

import inspect
from typing import Any, Generic, TypeVar, cast

import msgspec
import pytest

from redqueue.context import JobContext
from redqueue.errors import InvalidArguments, InvalidOption, NotRegistered, RegistrationError
from redqueue.processors import BaseProcessor
from redqueue.registry import Binding, ServiceRegistry, job_type_of

CONTEXT: JobContext = JobContext.__new__(JobContext)
T = TypeVar("T")


class Data(msgspec.Struct):
    x: int


class Plain(BaseProcessor[Data, int]):
    def __init__(self) -> None:
        self.seen: list[Any] = []

    def validate(self, data: Data, /) -> None:
        self.seen.append(("validate", data.x))

    def process(self, data: Data, context: JobContext, /) -> int:
        self.seen.append(("process", context))
        return data.x + 1

    def on_completed(self, data: Data, result: int, context: JobContext, /) -> None:
        self.seen.append(("on_completed", result))

    def on_failed(self, data: Data, error: Exception, context: JobContext, /) -> None:
        self.seen.append(("on_failed", data.x, error))


class Async(BaseProcessor[Data, int]):
    def __init__(self) -> None:
        self.seen: list[Any] = []

    def validate(self, data: Data, /) -> None:
        self.seen.append(("validate", data.x))

    async def process(self, data: Data, context: JobContext, /) -> int:
        self.seen.append(("process", context))
        return data.x + 1

    async def on_completed(self, data: Data, result: int, context: JobContext, /) -> None:
        self.seen.append(("on_completed", result))

    async def on_failed(self, data: Data, error: Exception, context: JobContext, /) -> None:
        self.seen.append(("on_failed", data.x, error))


class Least(BaseProcessor[Data, int]):
    def process(self, data, context, /):  # type: ignore[no-untyped-def]
        return data


def bound(processor: BaseProcessor[Any, Any], **options: Any) -> Binding:
    registry = ServiceRegistry()
    registry.register_processor("p", processor, **options)
    registry.check()
    return registry.processor_binding("p")


async def settled(value: object) -> Any:
    return await value if inspect.isawaitable(value) else value


@pytest.mark.parametrize("kind", [Plain, Async])
async def test_the_parts_run_in_order(kind: type[Plain | Async]) -> None:
    processor = kind()
    binding = bound(processor, retries=2)
    assert binding.is_coroutine is (kind is Async) and binding.name == kind.__name__
    assert binding.options == {"retries": 2}
    prepared = binding.prepare(b'{"x": 1}')
    assert processor.seen == []
    assert await settled(prepared.call(CONTEXT)) == 2
    assert processor.seen == [("validate", 1), ("process", CONTEXT), ("on_completed", 2)]
    error = ValueError("last")
    assert await settled(prepared.failed(error, CONTEXT)) is None
    assert processor.seen[3:] == [("on_failed", 1, error)]


def test_what_a_part_raises_is_the_attempts_failure() -> None:
    class Refuses(Plain):
        def validate(self, data: Data, /) -> None:
            raise ValueError("no")

    class Stumbles(Plain):
        def on_completed(self, data: Data, result: int, context: JobContext, /) -> None:
            raise ValueError("stumbled")

    for processor, entered in ((Refuses(), 0), (Stumbles(), 1)):
        with pytest.raises(ValueError, match=r"no|stumbled"):
            bound(processor).prepare(b'{"x": 1}').call(CONTEXT)
        assert [part for part, *_ in processor.seen].count("process") == entered
        assert "on_failed" not in [part for part, *_ in processor.seen]


def test_the_datas_type_comes_from_the_class_when_process_does_not_say_it() -> None:
    class Between(BaseProcessor[T, int], Generic[T]):
        def process(self, data: T, context: JobContext, /) -> int:
            return 1

    class Concrete(Between[Data]):
        pass

    for processor in (Least(), Concrete()):
        binding = bound(processor)
        assert binding.prepare(b'{"x": 1}').args == (Data(1),)
        with pytest.raises(InvalidArguments, match="unknown field 'z'"):
            binding.prepare(b'{"x": 1, "z": 2}')


def test_without_a_type_data_is_what_json_gives() -> None:
    class Untyped(BaseProcessor[Any, Any]):
        def process(self, data, context, /):  # type: ignore[no-untyped-def]
            return data

    assert bound(Untyped()).prepare(b'{"x": [1]}').call(CONTEXT) == {"x": [1]}


def test_a_plain_process_beside_an_async_part_is_refused() -> None:
    class Mixed(BaseProcessor[Data, int]):
        async def validate(self, data: Data, /) -> None: ...

        def process(self, data: Data, context: JobContext, /) -> int:
            return 1

    with pytest.raises(RegistrationError, match="make it `async def process`"):
        ServiceRegistry().register_processor("p", Mixed())


def test_an_async_processor_cannot_run_in_a_thread() -> None:
    with pytest.raises(InvalidOption, match="async"):
        bound(Async(), execution="thread")
    assert bound(Plain(), execution="thread").options == {"execution": "thread"}


def test_a_part_with_other_arguments_is_refused() -> None:
    class Short(BaseProcessor[Data, int]): ...

    def process(self: Short, data: Data) -> int:
        return 1

    setattr(Short, "process", process)  # noqa: B010

    with pytest.raises(RegistrationError, match=r"Short\.process must take 2 arguments"):
        ServiceRegistry().register_processor("p", Short())


def test_a_class_is_no_processor() -> None:
    with pytest.raises(RegistrationError, match="is a class: register an object of it"):
        ServiceRegistry().register_processor("p", cast("Any", Plain))
    with pytest.raises(RegistrationError, match="neither a function nor a BaseProcessor"):
        ServiceRegistry().register_processor("p", cast("Any", object()))


def test_the_parts_that_were_registered_run() -> None:
    processor = Plain()
    registry = ServiceRegistry()
    registry.register_processor("p", processor)
    setattr(processor, "process", lambda data, context: 99)  # noqa: B010
    registry.check()
    assert registry.processor_binding("p").prepare(b'{"x": 1}').call(CONTEXT) == 2


def test_without_process_a_job_fails_and_says_why() -> None:
    with pytest.raises(NotImplementedError, match=r"BaseProcessor has no process"):
        bound(BaseProcessor[Any, Any]()).prepare(b"1").call(CONTEXT)


def test_the_same_object_again_and_its_type() -> None:
    registry, processor = ServiceRegistry(), Plain()
    registry.register_processor("parts", processor)
    registry.register_processor("parts", processor)
    with pytest.raises(RegistrationError, match="registered already"):
        registry.register_processor("parts", Plain())
    assert job_type_of(processor) == "parts"
    with pytest.raises(NotRegistered):
        job_type_of(Plain())
