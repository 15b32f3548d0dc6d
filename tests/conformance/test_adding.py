"""Adding jobs: ids, duplicates, when they are due and their order in line."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import msgspec
import pytest

from redqueue.backoff import Exponential
from redqueue.client.aio.queue import AsyncQueue
from redqueue.registry import ServiceRegistry
from redqueue.rules import Keep
from redqueue.shapes import JobData

from .conftest import MakeQueue, Work

InLine = Callable[[], Awaitable[Sequence[str]]]


class SmsData(JobData[bool]):
    job_type: ClassVar[str] = "sms"

    phone_numbers: list[str]


@dataclass
class Point:
    x: int
    y: int


async def test_a_new_job_waits_and_reads_back_equal(queue: AsyncQueue) -> None:
    job = await queue.add("sms", {"to": ["+31", "é🎈"], "n": 1.5, "nothing": None})
    assert (job.queue, job.job_type, job.answer) == ("q", "sms", "created")
    status = await job.status()
    assert status is not None
    assert (status.job_id, status.queue, status.job_type, status.label) == (job.id, "q", "sms", "")
    assert (status.status, status.state, status.position, status.attempts) == ("pending", "waiting", 0, 0)
    assert await queue.get_data(job.id) == {"to": ["+31", "é🎈"], "n": 1.5, "nothing": None}


async def test_each_job_gets_an_id_of_its_own(queue: AsyncQueue) -> None:
    ids = {(await queue.add("sms")).id for _ in range(20)}
    assert len(ids) == 20
    assert all(len(one) == 16 for one in ids)


async def test_the_callers_job_id_is_kept(queue: AsyncQueue) -> None:
    job = await queue.add("sms", job_id="Order-7:a@b.c_d")
    assert job.id == "Order-7:a@b.c_d"


async def test_adding_an_id_again_changes_nothing(queue: AsyncQueue) -> None:
    """Faults: D05."""
    await queue.add("sms", 1, job_id="a")
    again = await queue.add("email", 2, job_id="a", priority=-5, delay=60)
    assert again.answer == "duplicate"
    assert await queue.get_data("a") == 1
    status = await queue.get_status("a")
    assert status is not None
    assert (status.job_type, status.state) == ("sms", "waiting")
    assert (await queue.get_stats()).waiting == 1


async def test_an_id_can_be_added_again_when_its_job_is_no_longer_kept(queue: AsyncQueue, work: Work) -> None:
    """Faults: S08."""
    await queue.add("ok", 1, job_id="a")
    await work()
    assert (await queue.add("ok", 2, job_id="a")).answer == "duplicate"
    await queue.remove("a")
    assert (await queue.add("ok", 3, job_id="a")).answer == "created"
    assert await queue.get_data("a") == 3


async def test_data_may_be_whatever_msgspec_writes(queue: AsyncQueue) -> None:
    """Faults: O02."""

    class Inner(msgspec.Struct):
        when: datetime

    when = datetime(2026, 1, 2, tzinfo=UTC)
    job = await queue.add("a", [Point(1, 2), Inner(when), ("t", 2**63), None, True])
    assert await queue.get_data(job.id) == [
        {"x": 1, "y": 2},
        {"when": "2026-01-02T00:00:00Z"},
        ["t", 2**63],
        None,
        True,
    ]
    assert await queue.get_data((await queue.add("a")).id) is None


async def test_data_can_name_its_own_job_type(queue: AsyncQueue) -> None:
    job = await queue.add(SmsData(phone_numbers=["+31"]))
    assert job.job_type == "sms"
    assert await queue.get_data(job.id) == {"phoneNumbers": ["+31"]}
    assert await queue.get_data(job.id, SmsData) == SmsData(phone_numbers=["+31"])


async def test_a_registered_processor_names_its_job_type(queue: AsyncQueue) -> None:
    registry = ServiceRegistry()

    @registry.processor("shout")
    async def shout(data: str) -> str:
        return data.upper()

    job = await queue.add(shout, "hey", priority=3)
    assert job.job_type == "shout"


async def test_many_jobs_keep_their_order_and_ids(queue: AsyncQueue, in_line: InLine) -> None:
    jobs = await queue.add_many(
        [("a", 1, {"job_id": "x"}), ("b", 2), SmsData(phone_numbers=[]), ("c", 3, {"priority": -1})], priority=2
    )
    assert [job.job_type for job in jobs] == ["a", "b", "sms", "c"]
    assert [job.answer for job in jobs] == ["created"] * 4
    assert jobs[0].id == "x"
    assert await in_line() == [jobs[3].id, "x", jobs[1].id, jobs[2].id]


async def test_many_jobs_are_each_answered_created_or_duplicate(queue: AsyncQueue) -> None:
    await queue.add("a", job_id="old")
    given: Any = [("a", n, {"job_id": one}) for n, one in enumerate(["new", "old", "twice", "twice"])]
    jobs = await queue.add_many(given)
    assert [job.answer for job in jobs] == ["created", "duplicate", "created", "duplicate"]
    assert await queue.get_data("twice") == 2


async def test_adding_no_jobs_at_all_is_fine(queue: AsyncQueue) -> None:
    assert list(await queue.add_many([])) == []


async def test_more_jobs_than_fit_one_call_keep_their_order(queue: AsyncQueue) -> None:
    jobs = await queue.add_many((("a", n) for n in range(2345)), job_id=None)
    page = await queue.jobs("waiting", 2300, 1000, newest=False)
    assert [status.job_id for status in page] == [job.id for job in jobs[2300:]]
    assert (await queue.get_stats()).waiting == 2345


async def test_one_bad_job_of_many_stores_none(queue: AsyncQueue, unchanged: Callable[[], bool]) -> None:
    with pytest.raises(ValueError, match="priority") as raised:
        await queue.add_many([("a", 1), ("a", 2, {"priority": 1001})])
    assert raised.value.__notes__ == ["in the job at index 1"]
    assert unchanged()


async def test_jobs_run_in_the_order_of_adding(queue: AsyncQueue, work: Work, ran: list[Any]) -> None:
    for n in range(20):
        await queue.add("ok", n)
    await work()
    assert ran == list(range(20))


async def test_priorities_run_first_to_last_in_order_within_one(
    queue: AsyncQueue, work: Work, ran: list[Any], in_line: InLine
) -> None:
    for n, priority in enumerate([2, 3, 1, -1000, 0, 1000, 2, 3, 1, -1000, 0, 1000]):
        await queue.add("ok", (priority, n), priority=priority)
    await work()
    assert ran == sorted(ran)
    assert len(ran) == 12


async def test_lifo_goes_to_the_front_of_its_priority(queue: AsyncQueue, in_line: InLine) -> None:
    given: dict[str, Any] = {
        "first": {},
        "front": {"lifo": True},
        "before": {"lifo": True},
        "urgent": {"priority": -1},
        "urgent-front": {"priority": -1, "lifo": True},
        "later-front": {"priority": 1, "lifo": True},
    }
    for job_id, options in given.items():
        await queue.add("a", job_id=job_id, **options)
    assert await in_line() == ["urgent-front", "urgent", "before", "front", "first", "later-front"]


@pytest.mark.parametrize("delay", [60, 60.5, timedelta(minutes=1)])
async def test_a_delayed_job_is_not_due_yet(queue: AsyncQueue, work: Work, ran: list[Any], delay: Any) -> None:
    job = await queue.add("ok", 1, delay=delay)
    status = await job.status()
    assert status is not None
    assert (status.status, status.state, status.position) == ("pending", "delayed", None)
    assert status.due_at is not None
    assert timedelta(seconds=55) < status.due_at - datetime.now(UTC) < timedelta(seconds=65)
    await work()
    assert ran == []
    assert (await queue.get_stats()).delayed == 1


@pytest.mark.parametrize("options", [{"delay": 0}, {"delay": timedelta()}, {"at": datetime(2020, 1, 1, tzinfo=UTC)}])
async def test_a_delay_that_is_over_waits_at_once(queue: AsyncQueue, options: Any) -> None:
    status = await (await queue.add("a", **options)).status()
    assert status is not None
    assert status.state == "waiting"


async def test_a_job_can_be_due_at_a_time(queue: AsyncQueue) -> None:
    at = datetime.now(UTC) + timedelta(hours=3)
    status = await (await queue.add("a", at=at)).status()
    assert status is not None
    assert status.due_at is not None
    assert abs(status.due_at - at) <= timedelta(milliseconds=1)


async def test_options_that_are_none_are_as_if_absent(queue: AsyncQueue) -> None:
    job = await queue.add("a", job_id=None, at=None)
    assert job.answer == "created"


async def test_a_queues_defaults_hold_for_jobs_that_say_nothing(make_queue: MakeQueue) -> None:
    queue = make_queue(delay=60, priority=5)
    assert (await _state(queue, await queue.add("a"))) == "delayed"
    assert (await _state(queue, await queue.add("a", delay=0))) == "waiting"
    assert (await _state(queue, await queue.add("a", at=datetime(2020, 1, 1, tzinfo=UTC)))) == "waiting"


async def test_a_queues_default_retries_and_retention_hold(make_queue: MakeQueue, work: Work, ran: list[Any]) -> None:
    queue = make_queue(retries=2, backoff=0, keep_failed=Keep(count=1))
    await queue.add("fail", 1)
    await queue.add("fail", 2, retries=0)
    await work()
    assert sorted(ran) == [1, 1, 1, 2]
    assert (await queue.get_stats()).kept_failed == 1


async def test_a_backoff_travels_with_the_job(queue: AsyncQueue, work: Work) -> None:
    jobs = [
        await queue.add("fail", 1, retries=1, backoff=100),
        await queue.add("fail", 1, retries=1, backoff=Exponential(first=200, jitter=0)),
        await queue.add("fail", 1, retries=1, backoff=timedelta(seconds=300)),
    ]
    await work()
    for job, seconds in zip(jobs, (100, 200, 300), strict=True):
        status = await job.status()
        assert status is not None
        assert status.due_at is not None
        assert abs(status.due_at - datetime.now(UTC) - timedelta(seconds=seconds)) < timedelta(seconds=5)
        assert (status.state, status.attempts, status.error) == ("delayed", 1, "Broken: no 1")


async def test_queues_with_other_names_or_prefixes_have_nothing_in_common(make_queue: MakeQueue) -> None:
    queues = [make_queue("a"), make_queue("b"), make_queue("a", prefix="other")]
    for queue in queues:
        assert (await queue.add("x", job_id="same")).answer == "created"
    assert [(await queue.get_stats()).waiting for queue in queues] == [1, 1, 1]


async def test_a_closed_handle_opens_again(queue: AsyncQueue) -> None:
    await queue.add("a")
    await queue.close()
    await queue.close()
    assert (await queue.add("a")).answer == "created"


async def _state(queue: AsyncQueue, job: Any) -> str:
    status = await queue.get_status(job.id)
    assert status is not None
    return status.state
