"""Waiting for results and listening to events, where the way to the server, processes and loops come in."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing
from typing import Any

import pytest
import redis

from redqueue import AsyncQueue, Queue, RedisRefused, RedisUnavailable, ResultGone, ResultTimeout
from redqueue.client.patience import Patience
from redqueue.client.pools import CLIENT_NAME
from redqueue.core import results
from redqueue.embedded import PrivateServer

QUICK = Patience(unsent=0.05, sent=0.1, first_wait=0.01, longest_wait=0.02)


@pytest.fixture
def lasting_server() -> Iterator[PrivateServer]:
    """A server of the test's that has its data again after a restart."""
    with PrivateServer(appendonly=True) as server:
        yield server


def until(look: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.005)


async def until_async(look: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not look():
            await asyncio.sleep(0.005)


def ours(admin: Any) -> int:
    return sum(client["name"] == CLIENT_NAME for client in admin.client_list())


def blocked(admin: Any) -> int:
    count: int = admin.info("clients")["blocked_clients"]
    return count


def reading() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("redqueue results")]


async def test_thousands_of_waiters_share_one_connection(server: PrivateServer, admin: Any) -> None:
    async with AsyncQueue("q", server.url) as queue:
        jobs = await queue.add_many([("t", n) for n in range(5000)])
        calls = admin.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"]
        waiting = [asyncio.ensure_future(job.result(30)) for job in jobs]
        await until_async(lambda: blocked(admin) == 1)
        assert ours(admin) <= 3
        assert admin.info("commandstats")["cmdstat_evalsha"]["calls"] - calls <= 10
        assert not any(one.done() for one in waiting)
        assert await queue.drain() == 5000
        ended = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(one).__name__ for one in ended} == {"ResultGone"}
    await until_async(lambda: ours(admin) == 0)


async def test_adding_and_waiting_again_and_again_takes_no_look(server: PrivateServer, admin: Any) -> None:
    async with AsyncQueue("q", server.url) as queue:
        first = await queue.add("t")
        waiting = asyncio.ensure_future(first.result(30))
        await until_async(lambda: blocked(admin) == 1)
        await queue.cancel(first.id)
        await asyncio.wait([waiting])
        (hub,) = queue._results._hubs.values()
        looker, reader = hub._looker, hub._reader
        for _ in range(5):
            job = await queue.add("t")
            waiting = asyncio.ensure_future(job.result(30))
            await asyncio.sleep(0.02)
            await job.cancel()
            await asyncio.wait([waiting])
        assert (hub._looker, hub._reader) == (looker, reader)


async def test_the_reading_ends_when_nobody_waits(
    server: PrivateServer, admin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "LINGER_S", 0.05)
    monkeypatch.setattr(results, "BLOCK_S", 0.05)
    async with AsyncQueue("q", server.url) as queue:
        job = await queue.add("t")
        with pytest.raises(ResultTimeout):
            await job.result(0.05)
        (hub,) = queue._results._hubs.values()
        await until_async(lambda: hub._reader is not None and hub._reader.done())
        assert blocked(admin) == 0
        with pytest.raises(ResultTimeout):
            await job.result(0.05)
    with Queue("q", server.url) as sync:
        with pytest.raises(ResultTimeout):
            sync.job(job.id).result(0.05)
        until(lambda: not reading())
        assert blocked(admin) == 0
        with pytest.raises(ResultTimeout):
            sync.job(job.id).result(0.05)
    until(lambda: not reading())


def test_threads_share_one_reader(server: PrivateServer, admin: Any) -> None:
    with Queue("q", server.url) as queue:
        jobs, ended = queue.add_many([("t", n) for n in range(20)]), list[str]()

        def wait(job: Any) -> None:
            try:
                job.result(30)
            except Exception as error:
                ended.append(type(error).__name__)

        threads = [threading.Thread(target=wait, args=(job,)) for job in jobs]
        for thread in threads:
            thread.start()
        until(lambda: blocked(admin) == 1)
        until(lambda: len(reading()) == 1)
        for job in jobs:
            job.cancel()
        for thread in threads:
            thread.join()
        assert ended == ["JobCancelled"] * 20
    until(lambda: ours(admin) == 0)
    until(lambda: not reading())


def test_a_closed_queue_leaves_no_connection_behind(server: PrivateServer, admin: Any) -> None:
    for _ in range(20):
        with Queue("q", server.url) as queue:
            job = queue.add("t")
            cancelling = threading.Timer(0.01, job.cancel)
            cancelling.start()
            with pytest.raises(Exception, match="cancelled"):
                job.result(30)
            cancelling.join()  # or the queue is closed under its call, which then takes a share again
        until(lambda: ours(admin) == 0)


def test_a_loop_that_ends_takes_its_reader_with_it(server: PrivateServer, admin: Any) -> None:
    queue = AsyncQueue("q", server.url)

    async def use() -> None:
        job = await queue.add("t")
        with pytest.raises(ResultTimeout):
            await job.result(0.05)

    for _ in range(3):
        asyncio.run(use())
        until(lambda: ours(admin) == 0)
    assert len(queue._results._hubs) == 1


async def test_waiters_outlive_a_restart_of_the_server(lasting_server: PrivateServer) -> None:
    async with AsyncQueue("q", lasting_server.url) as queue:
        queue._runner.patience = QUICK
        job = await queue.add("t")
        waiting = [asyncio.ensure_future(job.result(60)) for _ in range(2)]
        with redis.Redis.from_url(lasting_server.url) as admin:
            await until_async(lambda: blocked(admin) == 1)
        await asyncio.to_thread(lasting_server.stop)
        waiting.append(asyncio.ensure_future(job.result(60)))
        await asyncio.sleep(0.3)
        await asyncio.to_thread(lasting_server.start)
        await job.cancel("back again")
        ended = await asyncio.gather(*waiting, return_exceptions=True)
        assert [str(one) for one in ended] == [f"job {job.id} was cancelled: back again"] * 3


def test_threads_outlive_a_restart_of_the_server(lasting_server: PrivateServer) -> None:
    with Queue("q", lasting_server.url) as queue:
        queue._runner.patience = QUICK
        job, ended = queue.add("t"), list[str]()

        def wait() -> None:
            try:
                job.result(60)
            except Exception as error:
                ended.append(str(error))

        thread = threading.Thread(target=wait)
        thread.start()
        with redis.Redis.from_url(lasting_server.url) as admin:
            until(lambda: blocked(admin) == 1)
        lasting_server.stop()
        time.sleep(0.3)
        lasting_server.start()
        job.cancel("back again")
        thread.join(30)
        assert ended == [f"job {job.id} was cancelled: back again"]


async def test_a_listener_outlives_a_restart_without_gap_or_repetition(lasting_server: PrivateServer) -> None:
    async with AsyncQueue("q", lasting_server.url) as queue:
        queue._runner.patience = QUICK
        await queue.add_many([("t", n, {"job_id": str(n)}) for n in range(3)])
        async with asyncio.timeout(30), aclosing(queue.events(since="0")) as events:
            told = [(await anext(events)).job_id for _ in range(3)]
            coming = asyncio.ensure_future(anext(events))
            await asyncio.sleep(0.1)
            await asyncio.to_thread(lasting_server.stop)
            await asyncio.sleep(0.3)
            assert not coming.done()
            await asyncio.to_thread(lasting_server.start)
            await queue.add_many([("t", n, {"job_id": str(n)}) for n in range(3, 6)])
            told += [(await coming).job_id, *[(await anext(events)).job_id for _ in range(2)]]
        assert told == ["0", "1", "2", "3", "4", "5"]


async def test_who_waits_and_listens_hears_that_the_server_lost_everything(own_server: PrivateServer) -> None:
    async with AsyncQueue("q", own_server.url) as queue:
        queue._runner.patience = QUICK
        job = await queue.add("t")
        waiting = asyncio.ensure_future(job.result(60))
        async with asyncio.timeout(30), aclosing(queue.events(since="0")) as events:
            assert (await anext(events)).job_id == job.id
            coming = asyncio.ensure_future(anext(events))
            with redis.Redis.from_url(own_server.url) as admin:
                await until_async(lambda: blocked(admin) == 2)
            await asyncio.to_thread(own_server.kill)
            await asyncio.to_thread(own_server.start)
            with pytest.raises(ResultGone):
                await waiting
            assert (await coming).kind == "missed"
            coming = asyncio.ensure_future(anext(events))
            await queue.add("t", job_id="new")
            assert (await coming).job_id == "new"


def test_while_the_server_is_away_only_the_time_ends_a_wait(handles: Any, own_server: PrivateServer) -> None:
    queue, do = handles.queue("q", own_server.url), handles.do
    queue._runner.patience = QUICK
    own_server.stop()
    began = time.monotonic()
    with pytest.raises(ResultTimeout):
        do(queue.job("a").result(0.3))
    assert 0.3 <= time.monotonic() - began < 5
    with pytest.raises(RedisUnavailable):
        do(queue.job("a").result(0))
    do(queue.close())


def test_a_refusal_is_told_to_all_who_wait(handles: Any, own_server: PrivateServer) -> None:
    with redis.Redis.from_url(own_server.url) as admin:
        admin.execute_command("ACL", "SETUSER", "u", "on", ">pw", "~*", "+@all", "-xread")
        queue, do = handles.queue("q", own_server.url.replace("unix://", "unix://u:pw@")), handles.do
        job = do(queue.add("t"))
        with pytest.raises(RedisRefused, match="ACL"):
            do(job.result(30))
        admin.execute_command("ACL", "SETUSER", "u", "+xread")
        with pytest.raises(ResultTimeout):
            do(job.result(0.05))
    do(queue.close())


def test_a_refusal_ends_listening(own_server: PrivateServer) -> None:
    with redis.Redis.from_url(own_server.url) as admin:
        admin.execute_command("ACL", "SETUSER", "u", "on", ">pw", "~*", "+@all", "-xread")
    with Queue("q", own_server.url.replace("unix://", "unix://u:pw@")) as queue:
        queue.add("t", job_id="a")
        events = queue.events(since="0")
        assert next(events).job_id == "a"
        with pytest.raises(RedisRefused, match="ACL"):
            next(events)


def test_a_short_timeout_of_the_socket_is_respected(handles: Any, server: PrivateServer) -> None:
    """Faults: S04."""
    url, do = f"{server.url}&socket_timeout=0.4", handles.do
    queue = handles.queue("q", url)
    job = do(queue.add("t"))
    with pytest.raises(ResultTimeout):
        do(job.result(1))
    do(queue.close())
    with redis.Redis.from_url(server.url, socket_timeout=0.4) as client, Queue("q", client=client) as given:
        given._runner._transport.wait_for_entry(given._keys["events"], "9999999999999-0", 5)


def test_a_forked_child_waits_for_itself(server: PrivateServer, admin: Any) -> None:
    with Queue("q", server.url) as queue:
        job = queue.add("t")
        with pytest.raises(ResultTimeout):
            job.result(0.05)
        assert reading()
        child = os.fork()
        if not child:
            try:
                job.result(30)
            except Exception as error:
                os._exit(0 if "for the child" in str(error) else 1)
            os._exit(2)
        until(lambda: blocked(admin) >= 1)
        job.cancel("for the child")
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        with pytest.raises(Exception, match="for the child"):
            job.result(30)


async def test_a_cancelled_wait_leaves_the_others_alone(server: PrivateServer, admin: Any) -> None:
    async with AsyncQueue("q", server.url) as queue:
        job = await queue.add("t")
        gives_up, waits = (asyncio.ensure_future(job.result(30)) for _ in range(2))
        await until_async(lambda: blocked(admin) == 1)
        gives_up.cancel()
        await asyncio.wait([gives_up])
        assert gives_up.cancelled()
        await job.cancel("later")
        with pytest.raises(Exception, match="later"):
            await waits
        (hub,) = queue._results._hubs.values()
        assert not hub._watch._waiting


async def test_a_cancelled_listener_leaves_nothing_behind(server: PrivateServer, admin: Any) -> None:
    async with AsyncQueue("q", server.url) as queue:

        async def listen() -> None:
            async for _ in queue.events():
                pass

        task = asyncio.create_task(listen())
        await until_async(lambda: blocked(admin) == 1)
        task.cancel()
        await asyncio.wait([task])
        await until_async(lambda: blocked(admin) == 0)
        await queue.add("t")
        async for event in queue.events(since="0"):
            assert event.kind == "added"
            break
    await until_async(lambda: ours(admin) == 0)


def test_a_thread_that_cannot_be_started_is_started_by_the_next_who_waits(
    server: PrivateServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = threading.Thread.start
    for which in ("look", "read"):
        failed = list[str]()

        def start(thread: threading.Thread, which: str = which, failed: list[str] = failed) -> None:
            if thread.name == f"redqueue results: {which}" and not failed:
                failed.append(which)
                raise RuntimeError("can't start new thread")
            really(thread)

        with Queue("q", server.url) as queue:
            job = queue.add("t")
            monkeypatch.setattr(threading.Thread, "start", start)
            with pytest.raises(RuntimeError, match="can't start"):
                job.result(10)
            assert not queue._results._hub._watch._waiting
            timer = threading.Timer(0.2, job.cancel, ["found"])
            timer.start()
            with pytest.raises(Exception, match="found"):
                job.result(10)
            timer.join()


def listens(queue: Queue, told: list[Any]) -> threading.Thread:
    def listen() -> None:
        try:
            told.extend(queue.events())
        except BaseException as error:
            told.append(error)

    thread = threading.Thread(target=listen)
    thread.start()
    return thread


@pytest.mark.parametrize("shared", [False, True])
def test_a_listener_in_a_thread_ends_with_its_handle(server: PrivateServer, admin: Any, shared: bool) -> None:
    told, queue, other = list[Any](), Queue("q", server.url), Queue("other", server.url)
    if shared:
        other.get_stats()
    for _ in range(3):
        thread = listens(queue, told)
        until(lambda: blocked(admin) == 1)
        queue.close()
        thread.join(1)
        assert not thread.is_alive()
        assert told == []
        assert queue.get_stats().waiting == 0  # takes a share again
        queue.close()
    other.close()
    until(lambda: ours(admin) == 0)


def test_a_busy_listener_that_is_closed_takes_no_share_again(server: PrivateServer, admin: Any) -> None:
    with Queue("busy", server.url) as busy:
        busy.add_many([("t", n) for n in range(5000)])
    queue, listening = Queue("busy", server.url), threading.Event()

    def listen() -> None:
        for _ in queue.events(since="0"):
            listening.set()

    for n in range(10):
        listening.clear()
        thread = threading.Thread(target=listen)
        thread.start()
        assert listening.wait(10)
        time.sleep(0.002 * n)
        queue.close()
        thread.join(1)
        assert not thread.is_alive()
        assert not queue._runner._transport._pool


async def test_a_listening_task_ends_with_its_handle(server: PrivateServer, admin: Any) -> None:
    queue = AsyncQueue("q", server.url)

    async def listen() -> list[Any]:
        return [event async for event in queue.events()]

    for _ in range(3):
        task = asyncio.create_task(listen())
        await until_async(lambda: blocked(admin) == 1)
        await queue.close()
        async with asyncio.timeout(1):
            assert await task == []
        await until_async(lambda: ours(admin) == 0)


async def test_a_listener_ends_with_its_handle_while_the_server_is_away(own_server: PrivateServer) -> None:
    queue = AsyncQueue("q", own_server.url)
    await queue.add("t")

    async def listen() -> list[Any]:
        return [event async for event in queue.events(since="0")]

    task = asyncio.create_task(listen())
    await asyncio.sleep(0.1)
    await asyncio.to_thread(own_server.stop)
    await asyncio.sleep(0.3)
    await queue.close()
    async with asyncio.timeout(3):
        assert [one.kind for one in await task] == ["added"]


async def test_a_handle_that_is_closed_in_one_loop_listens_on_in_another(server: PrivateServer, admin: Any) -> None:
    queue, told = AsyncQueue("q", server.url), list[str | None]()

    async def listen() -> None:
        async for event in queue.events():
            told.append(event.job_id)
            break

    thread = threading.Thread(target=lambda: asyncio.run(listen()))
    thread.start()
    await until_async(lambda: blocked(admin) == 1)
    await queue.add("t", job_id="before")
    await queue.close()
    await asyncio.to_thread(thread.join, 10)
    assert told == ["before"]
