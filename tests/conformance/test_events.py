"""Listening to a queue, by Queue and AsyncQueue alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis

from redqueue import AsyncQueue, Event, InvalidOption, JobContext, ServiceRegistry

from .conftest import Work


async def until(queue: AsyncQueue, kind: str, **options: Any) -> list[Event]:
    """What is told up to the first event of a kind."""
    told: list[Event] = []
    async with asyncio.timeout(20), aclosing(queue.events(**{"since": "0", **options})) as events:
        async for event in events:
            told.append(event)
            if event.kind == kind:
                break
    return told


async def test_the_life_of_a_job_is_told(queue: AsyncQueue, work: Work) -> None:
    job = await queue.add("ok", {"n": 1})
    await work()
    added, active, completed = await until(queue, "completed")
    assert [one.kind for one in (added, active, completed)] == ["added", "active", "completed"]
    assert {one.job_id for one in (added, active, completed)} == {job.id}
    assert {one.queue for one in (added, active, completed)} == {"q"}
    assert completed.facts == {"result": {"n": 1}}
    assert ":" in active.facts["worker"]
    assert abs(datetime.now(UTC) - completed.at) < timedelta(minutes=1)
    assert added.at <= active.at <= completed.at


async def test_a_failure_a_cancel_and_a_pause_are_told(queue: AsyncQueue, work: Work) -> None:
    failing, unwanted = await queue.add("fail", 7), await queue.add("ok")
    await unwanted.cancel("not wanted")
    await work()
    await queue.pause()
    await queue.remove(failing.id)
    await queue.resume()
    told = {one.kind: one for one in await until(queue, "resumed")}
    assert told["cancelled"].facts == {"reason": "not wanted"}
    assert told["failed"].facts == {"attempt": 1, "error_type": "Broken", "error": "no 7"}
    assert told["removed"].job_id == failing.id
    assert told["paused"].job_id is told["drained"].job_id is None


async def test_progress_is_told(queue: AsyncQueue, work: Work, registry: ServiceRegistry) -> None:
    @registry.processor("slow")
    async def slow(data: Any, ctx: JobContext) -> None:
        await ctx.progress(0.5, "half", {"n": 1})

    job = await queue.add("slow")
    await work()
    (progress,) = [one for one in await until(queue, "completed") if one.kind == "progress"]
    assert progress.job_id == job.id
    assert progress.facts == {"progress": 0.5, "message": "half", "data": {"n": 1}}


async def add_until_told(queue: AsyncQueue, coming: asyncio.Future[Event]) -> list[str]:
    """Add job after job: nobody can see since when somebody listens. Answers their ids."""
    added: list[str] = []
    while not coming.done():
        added.append(f"after{len(added)}")
        await queue.add("ok", job_id=added[-1])
        await asyncio.wait({coming}, timeout=0.5)
    return added


async def test_by_default_only_what_comes_is_told(queue: AsyncQueue) -> None:
    await queue.add("ok", job_id="before")
    async with asyncio.timeout(20), aclosing(queue.events()) as events:
        coming = asyncio.ensure_future(anext(events))
        added = await add_until_told(queue, coming)
        assert (await coming).job_id in added


async def test_a_listener_that_waits_is_told_soon(queue: AsyncQueue) -> None:
    async with asyncio.timeout(20), aclosing(queue.events(since="0")) as events:
        for n in range(20):
            coming = asyncio.ensure_future(anext(events))
            await queue.add("ok", job_id=str(n))
            assert (await coming).job_id == str(n)


async def test_listening_goes_on_behind_any_event(queue: AsyncQueue) -> None:
    await queue.add_many([("ok", n) for n in range(5)])
    await queue.pause()
    told = await until(queue, "paused")
    assert [one.kind for one in told] == ["added"] * 5 + ["paused"]
    for n, event in enumerate(told[:-1], 1):
        assert await until(queue, "paused", since=event.id) == told[n:]


async def test_some_kinds_only(queue: AsyncQueue, work: Work) -> None:
    await queue.add("ok")
    await work()
    await queue.pause()
    assert [one.kind for one in await until(queue, "paused", kinds=["paused", "active"])] == ["active", "paused"]


async def test_from_a_time_on(queue: AsyncQueue) -> None:
    await queue.add("ok")
    await asyncio.sleep(0.01)
    begin = (await until(queue, "added"))[0].at + timedelta(milliseconds=1)
    await queue.pause()
    assert [one.kind for one in await until(queue, "paused", since=begin)] == ["paused"]


async def test_who_was_too_slow_is_told(queue: AsyncQueue, client: redis.Redis) -> None:
    for n in range(5):
        await queue.add("ok", job_id=str(n))
    (first,) = await until(queue, "added")
    client.xtrim("redqueue:{q}:events", maxlen=2, approximate=False)
    (missed,) = await until(queue, "missed", since=first.id)
    await queue.pause()
    assert [one.job_id for one in await until(queue, "paused", since=missed.id)] == ["3", "4", None]


@pytest.mark.parametrize(
    ("options", "option"),
    [
        ({"since": "yesterday"}, "since"),
        ({"since": 5}, "since"),
        ({"since": datetime(2024, 1, 1)}, "since"),
        ({"kinds": "added"}, "kinds"),
        ({"kinds": ["invented"]}, "kinds"),
    ],
)
async def test_what_cannot_be_is_refused_at_once(queue: AsyncQueue, options: Any, option: str) -> None:
    with pytest.raises(InvalidOption) as raised:
        queue.events(**options)
    assert raised.value.option == option


async def test_two_who_listen_get_the_same(queue: AsyncQueue) -> None:
    await queue.add_many([("ok", n) for n in range(5)])
    await queue.pause()
    one, two = await asyncio.gather(until(queue, "paused"), until(queue, "paused"))
    assert one == two


async def test_listening_may_begin_before_there_is_a_queue(queue: AsyncQueue) -> None:
    events: AsyncIterator[Event]
    async with asyncio.timeout(20), aclosing(queue.events()) as events:
        coming = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0.1)
        added = await add_until_told(queue, coming)
        assert (await coming).job_id in added


async def test_the_log_of_a_job(queue: AsyncQueue, work: Work, registry: ServiceRegistry) -> None:
    @registry.processor("chatty")
    async def chatty(data: Any, ctx: JobContext) -> None:
        for n in range(5):
            await ctx.log(f"line {n} \u00fc")

    job = await queue.add("chatty")
    assert await queue.get_logs(job.id) == []
    await work()
    assert await queue.get_logs(job.id) == [f"line {n} \u00fc" for n in range(5)]
    assert await queue.get_logs(job.id, 1, 2) == ["line 1 \u00fc", "line 2 \u00fc"]
    assert await queue.get_logs(job.id, 9) == await queue.get_logs("unknown") == []
    bad: list[dict[str, Any]] = [{"start": -1}, {"count": 0}, {"count": 1001}, {"start": "0"}]
    for wrong in bad:
        with pytest.raises(InvalidOption):
            await queue.get_logs(job.id, **wrong)


async def test_closing_ends_the_listening_and_the_queue_can_be_listened_to_again(queue: AsyncQueue) -> None:
    await queue.add("ok", job_id="a")

    async def listen(since: str | None, told: list[str | None]) -> None:
        async for event in queue.events(since=since):
            told.append(event.job_id)  # noqa: PERF401 - one by one, while others look

    for _ in range(2):
        old, new = list[str | None](), list[str | None]()
        listening = asyncio.gather(listen("0", old), listen(None, new))
        async with asyncio.timeout(20):
            while not old:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)  # by now both wait at the server, or nearly always
        await queue.close()
        async with asyncio.timeout(4):  # less than such a wait takes by itself
            await listening
        assert (old, new) == (["a"], [])


async def test_closing_ends_what_is_listened_to_by_who_closes(queue: AsyncQueue) -> None:
    await queue.add_many([("ok", n, {"job_id": str(n)}) for n in range(5)])
    told = []
    async for event in queue.events(since="0"):
        told.append(event.job_id)
        await queue.close()
    assert told == ["0"]
