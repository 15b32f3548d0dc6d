"""A result is of the type that was promised when its job was added."""

from __future__ import annotations

import functools
from collections import Counter
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, ClassVar, Protocol

import msgspec
import pydantic
import pytest

from redqueue import JobQueueService, Queue, ResultMismatch, ServiceRegistry, Worker
from redqueue.client.reading import as_it_is, reader_of
from redqueue.shapes import Delivery, GenericTaskJobData, JobData, SmsJobData, SmsResult


class Sum(msgspec.Struct):
    total: int
    day: date


@dataclass
class Row:
    name: str


class Model(pydantic.BaseModel):
    name: str


class Base:
    pass


class SupportsName(Protocol):
    name: str


class Summing(JobData[Sum]):
    job_type: ClassVar[str] = "summing"
    numbers: list[int]


class Special(Summing):
    extra: int = 0


def summed(data: Summing) -> Sum:
    return Sum(sum(data.numbers), date(2026, 11, 24))


def rows(data: int) -> list[Row]:
    return [Row(str(n)) for n in range(data)]


async def model(data: int) -> Model | None:
    return Model(name="m") if data else None


def counted(data: int) -> Counter[str]:
    return Counter()


def of_a_base(data: int) -> Base:
    return Base()


def of_a_protocol(data: int) -> SupportsName:
    return Row("x")


@functools.wraps(summed)
def wrapped(data: Any) -> Any:
    return {"data": summed(data)}


def annotated(data: int) -> Annotated[int, {"unhashable": []}]:
    return data


def nothing(data: int) -> None:
    pass


def unresolved(data: int) -> Missing:  # type: ignore[name-defined]  # noqa: F821
    return data


def test_what_was_added_promises_the_type() -> None:
    value = {"total": 3, "day": "2026-11-24"}
    for added in (Summing(numbers=[]), Special(numbers=[]), summed):
        assert reader_of(added)(value) == Sum(3, date(2026, 11, 24))
    assert reader_of(rows)([{"name": "0"}]) == [Row("0")]
    assert reader_of(model)({"name": "m", "of a newer worker": 1}) == Model(name="m")
    assert reader_of(model)(None) is None


@pytest.mark.parametrize(
    "added",
    [
        nothing,
        unresolved,
        lambda data: data,
        GenericTaskJobData(label="x"),
        print,
        counted,
        of_a_base,
        of_a_protocol,
        wrapped,
    ],
)
def test_what_promises_nothing_leaves_it_as_it_is(added: Any) -> None:
    assert reader_of(added)({"a": [1]}) == {"a": [1]}


def test_an_annotation_that_can_not_be_hashed_promises_too() -> None:
    assert reader_of(annotated)(5) == 5
    with pytest.raises(ResultMismatch):
        reader_of(annotated)("five")


def test_a_result_that_is_something_else_is_told_with_its_value() -> None:
    with pytest.raises(ResultMismatch, match=r"the result is no Sum: .*\$\.total") as caught:
        reader_of(summed)({"total": "many", "day": "2026-11-24"})
    assert caught.value.value == {"total": "many", "day": "2026-11-24"}


def test_a_processors_results_come_back_as_they_were_returned(real_url: str) -> None:
    registry = ServiceRegistry()
    registry.register_processor("summing", summed)
    registry.register_processor("rows", rows)
    registry.register_task("model", model)
    service = JobQueueService(real_url, registry=registry)
    with (
        service,
        Queue("summing", real_url) as summing,
        Queue("rows", real_url) as of_rows,
        Worker(url=real_url, registry=registry).in_thread(),
    ):
        day = date(2026, 11, 24)
        assert summing.add(Summing(numbers=[1, 2])).result(10) == Sum(3, day)
        assert summing.add(summed, Summing(numbers=[1])).result(10) == Sum(1, day)
        assert [job.result(10) for job in summing.add_many([Summing(numbers=[4])])] == [Sum(4, day)]
        assert summing.add("summing", {"numbers": [5]}).result(10) == {"total": 5, "day": "2026-11-24"}
        assert of_rows.add(rows, 2).result(10) == [Row("0"), Row("1")]
        assert service.execute(model, 1).result(10) == Model(name="m")


def test_the_shapes_of_the_job_types_promise_theirs() -> None:
    data = SmsJobData(sub_account_id="s", phone_numbers=["1"], message="m")
    wire = {"total": 1, "successful": 1, "failed": 0, "segments": 1, "results": [{"to": "+1", "messageId": "x"}]}
    assert reader_of(data)(wire) == SmsResult(
        total=1, successful=1, failed=0, segments=1, results=[Delivery(to="+1", message_id="x")]
    )
    assert reader_of("sms") is as_it_is or reader_of("sms")(wire) == wire
