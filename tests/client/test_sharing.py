"""Adds of one turn of the event loop share a call."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from redqueue import AsyncQueue, NotConfirmed, RedisFull, RedisUnavailable
from redqueue.client.aio import sharing
from redqueue.core import add
from redqueue.embedded import PrivateServer


@pytest.fixture
async def queue(server: PrivateServer) -> Any:
    async with AsyncQueue("q", server.url) as queue:
        await queue.get_stats()
        yield queue


def calls_of(admin: Any) -> int:
    """How many scripts were called since the last look, but the first one for its text."""
    count = sum(
        admin.info("commandstats").get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("evalsha", "eval")
    )
    admin.config_resetstat()
    return int(count)


async def test_the_first_goes_alone_and_the_others_together(queue: AsyncQueue, admin: Any) -> None:
    await queue.add("t")
    calls_of(admin)
    jobs = await asyncio.gather(*(queue.add("t", n) for n in range(50)))
    assert calls_of(admin) == 2
    assert len({job.id for job in jobs}) == 50
    assert [job.answer for job in jobs] == ["created"] * 50
    assert (await queue.get_stats()).waiting == 51


async def test_each_is_answered_for_its_own_job(queue: AsyncQueue) -> None:
    names = ["a", "b", "b", "c", "a"]
    jobs = await asyncio.gather(*(queue.add("t", n, job_id=name) for n, name in enumerate(names)))
    assert [job.answer for job in jobs] == ["created", "created", "duplicate", "created", "duplicate"]
    assert [await queue.get_data(name) for name in "abc"] == [0, 1, 3]


async def test_they_keep_their_order(queue: AsyncQueue) -> None:
    await asyncio.gather(*(queue.add("t", job_id=f"{n}") for n in range(100)))
    assert [status.job_id for status in await queue.jobs("waiting", count=100, newest=False)] == [
        f"{n}" for n in range(100)
    ]


async def test_options_stay_each_jobs_own(queue: AsyncQueue) -> None:
    await asyncio.gather(
        queue.add("t", job_id="now"),
        queue.add("t", job_id="later", delay=60),
        queue.add("t", job_id="first", priority=-1),
    )
    stats = await queue.get_stats()
    assert (stats.waiting, stats.delayed) == (2, 1)
    assert (await queue.jobs("waiting", newest=False))[0].job_id == "first"


async def test_a_task_that_is_cancelled_takes_nothing_from_the_others(queue: AsyncQueue) -> None:
    adds = [asyncio.ensure_future(queue.add("t", job_id=f"{n}")) for n in range(10)]
    await asyncio.sleep(0)
    adds[0].cancel()  # went alone
    adds[5].cancel()
    answers = await asyncio.gather(*adds, return_exceptions=True)
    assert [isinstance(answer, asyncio.CancelledError) for answer in answers] == [n in (0, 5) for n in range(10)]
    assert await queue.get_status("9") is not None


async def test_when_redis_refuses_everybody_hears_of_it_and_the_next_add_works(
    own_server: PrivateServer,
) -> None:
    async with AsyncQueue("q", own_server.url) as queue:
        client = await queue._runner._transport.client()
        await queue.add("t")
        await client.config_set("maxmemory", "1")
        answers = await asyncio.gather(*(queue.add("t") for _ in range(10)), return_exceptions=True)
        assert all(isinstance(answer, RedisFull) for answer in answers)
        await client.config_set("maxmemory", "0")
        assert (await queue.add("t")).answer == "created"
        assert (await queue.get_stats()).waiting == 2


async def test_a_bad_job_is_its_tasks_own_affair(queue: AsyncQueue) -> None:
    answers = await asyncio.gather(
        queue.add("t"), queue.add("t", {1}), queue.add("t", job_id="no spaces"), queue.add("t"), return_exceptions=True
    )
    assert [isinstance(answer, Exception) for answer in answers] == [False, True, True, False]


async def test_a_call_takes_no_more_than_a_thousand_jobs_and_about_4_mib(queue: AsyncQueue, admin: Any) -> None:
    await queue.add("t")
    calls_of(admin)
    await asyncio.gather(*(queue.add("t", n) for n in range(2101)))
    assert calls_of(admin) == 4  # one, 1,000, 1,000, 100
    await asyncio.gather(*(queue.add("t", "x" * 1_000_000) for _ in range(10)))
    assert calls_of(admin) == 4  # one, and three times at most 4 MiB
    assert (await queue.get_stats()).waiting == 2112


async def test_they_wait_for_one_of_their_own_queue_only(server: PrivateServer, admin: Any) -> None:
    async with AsyncQueue("one", server.url) as one, AsyncQueue("two", server.url) as two:
        await asyncio.gather(*(queue.add("t", n) for n in range(10) for queue in (one, two)))
        assert ((await one.get_stats()).waiting, (await two.get_stats()).waiting) == (10, 10)


def test_each_event_loop_has_its_own(server: PrivateServer) -> None:
    queue = AsyncQueue("q", server.url)

    async def use() -> None:
        await asyncio.gather(*(queue.add("t") for _ in range(10)))

    for _ in range(3):
        asyncio.run(use())
    assert len(queue._runner._adds) == 1


def test_when_the_loop_ends_under_a_call_nobody_hangs(own_server: PrivateServer) -> None:
    queue = AsyncQueue("q", own_server.url)

    async def leave() -> None:
        await queue.add("t")
        own_server.pause()
        adds = [asyncio.ensure_future(queue.add("t", n)) for n in range(5)]
        _, pending = await asyncio.wait(adds, timeout=0.01)
        assert len(pending) == 5

    asyncio.run(leave())
    own_server.resume()


async def test_who_cancels_all_tasks_can_add_afterwards(queue: AsyncQueue) -> None:
    await queue.add("t")
    adds = [asyncio.ensure_future(queue.add("t", n)) for n in range(5)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    assert all(add.done() for add in adds)
    async with asyncio.timeout(5):
        later = await asyncio.gather(*(queue.add("t", n) for n in range(5)))
    assert [job.answer for job in later] == ["created"] * 5


async def test_a_task_that_was_not_cancelled_gets_an_error_when_the_shared_call_was(own_server: PrivateServer) -> None:
    async with AsyncQueue("q", own_server.url) as queue:
        await queue.add("t")
        own_server.pause()
        adds = [asyncio.ensure_future(queue.add("t", n)) for n in range(3)]
        for _ in range(3):
            await asyncio.sleep(0)
        (call,) = [task for task in asyncio.all_tasks() if task.get_name() == "redqueue adds"]
        call.cancel()
        own_server.resume()
        alone, *others = await asyncio.gather(*adds, return_exceptions=True)
        assert not isinstance(alone, BaseException)
        assert all(isinstance(one, RedisUnavailable) and one.sent for one in others)
        assert others[0] is not others[1]


async def test_what_all_gave_up_is_not_sent_for_ever(own_server: PrivateServer) -> None:
    async with AsyncQueue("q", own_server.url) as queue:
        await queue.add("t")
        own_server.kill()
        adds = [asyncio.ensure_future(queue.add("t", n)) for n in range(3)]
        for _ in range(3):
            await asyncio.sleep(0)
        for one in adds:
            one.cancel()
        await asyncio.wait(adds)
        await asyncio.sleep(0)
        assert not [task for task in asyncio.all_tasks() if task.get_name() == "redqueue adds"]
    own_server.start()


async def test_each_hears_of_its_own_job_only(server: PrivateServer) -> None:
    async with AsyncQueue("q", f"{server.url}&socket_timeout=0.5") as queue:
        adds = [queue.add("t", job_id=name, durability="replica") for name in "abc"]
        errors = await asyncio.gather(*adds, return_exceptions=True)
    assert [isinstance(error, NotConfirmed) and error.job_ids for error in errors] == [("a",), ("b",), ("c",)]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
async def test_eager_tasks_share_as_well(queue: AsyncQueue) -> None:
    asyncio.get_running_loop().set_task_factory(getattr(asyncio, "eager_task_factory"))  # noqa: B009
    await queue.add("t")
    jobs = await asyncio.gather(*(queue.add("t", n) for n in range(20)))
    assert [job.answer for job in jobs] == ["created"] * 20


def test_a_batch_says_when_it_is_full() -> None:
    batch = sharing._Batch()
    job = add.NewJob("1", "t", "0", b"x" * (add.MOST_BYTES // 2))
    loop = asyncio.new_event_loop()

    async def fill() -> None:
        assert batch.has_room(job)
        batch.take(job)
        assert batch.has_room(job)
        batch.take(job)
        assert not batch.has_room(job)

    loop.run_until_complete(fill())
    loop.close()
