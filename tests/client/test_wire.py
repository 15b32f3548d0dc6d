"""The connection that the calls of an event loop share."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis
import redis.asyncio
from redis import exceptions
from tests.client.test_transport import ours

from redqueue.client import wire
from redqueue.client.faults import classify
from redqueue.client.shares import AsyncPool
from redqueue.client.transport import AsyncTransport
from redqueue.client.urls import parse
from redqueue.core import inspect
from redqueue.core.keys import Keys
from redqueue.embedded import PrivateServer

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def shared(url: str) -> AsyncIterator[wire.Shared]:
    pool = AsyncPool.connected(parse(url))
    assert pool.shared is not None
    try:
        yield pool.shared
    finally:
        await pool.shared.close()
        await pool.close()


@asynccontextmanager
async def false_server(answer: Answer, **options: Any) -> AsyncIterator[str]:
    """The URL of a server that accepts the first steps of a connection, and then does this with the calls."""
    tasks = set[asyncio.Task[Any] | None]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        try:
            for _ in range(3):  # two CLIENT SETINFO, CLIENT SETNAME
                await next_call(reader)
                writer.write(b"+OK\r\n")
            await answer(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        asked = "".join(f"&{name}={value}" for name, value in options.items())
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}?client_name=redqueue{asked}"
    finally:
        server.close()
        for task in tasks:
            if task is not None:
                task.cancel()


async def next_call(reader: asyncio.StreamReader) -> list[bytes]:
    words = []
    for _ in range(int((await reader.readline())[1:])):
        size = int((await reader.readline())[1:])
        words.append((await reader.readexactly(size + 2))[:-2])
    return words


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        word = (await next_call(reader))[-1]
        writer.write(b"$%d\r\n%b\r\n" % (len(word), word))


async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def test_each_call_gets_its_own_answer(server: PrivateServer) -> None:
    async with shared(server.url) as way:
        answers = await asyncio.gather(*(way.execute("ECHO", str(n)) for n in range(500)))
    assert answers == [b"%d" % n for n in range(500)]


async def test_those_that_come_in_one_turn_of_the_loop_leave_together(server: PrivateServer, admin: Any) -> None:
    async with shared(server.url) as way:
        await way.execute("PING")
        reads = admin.info("stats")["total_reads_processed"]
        await asyncio.gather(*(way.execute("PING") for _ in range(100)))
        # The first alone, the others in one packet; and two of `admin`.
        assert admin.info("stats")["total_reads_processed"] - reads <= 4


async def test_an_error_is_its_calls_own(server: PrivateServer) -> None:
    async with shared(server.url) as way:
        pings = [way.execute("PING"), way.execute("EVALSHA", "0" * 40, 0), way.execute("NONSENSE"), way.execute("PING")]
        first, no_script, unknown, last = await asyncio.gather(*pings, return_exceptions=True)
    assert (first, last) == (b"PONG", b"PONG")
    assert isinstance(no_script, exceptions.NoScriptError)
    assert isinstance(unknown, exceptions.ResponseError)


async def test_a_call_that_is_given_up_takes_nothing_from_the_others(server: PrivateServer, admin: Any) -> None:
    async with shared(server.url) as way:
        await way.execute("PING")
        calls = [asyncio.ensure_future(way.execute("ECHO", str(n))) for n in range(100)]
        await asyncio.sleep(0)
        for call in calls[::3]:
            call.cancel()
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert answers[1::3] == [b"%d" % n for n in range(1, 100, 3)]
        assert all(isinstance(answer, asyncio.CancelledError) for answer in answers[::3])
        assert await way.execute("ECHO", "after") == b"after"
        assert ours(admin, 1) == 1


async def test_tasks_that_come_while_it_is_opened_share_it(server: PrivateServer, admin: Any) -> None:
    async with shared(server.url) as way:
        calls = [asyncio.ensure_future(way.execute("PING")) for _ in range(20)]
        await asyncio.sleep(0)
        calls[0].cancel()
        assert await asyncio.gather(*calls[1:]) == [b"PONG"] * 19
        assert ours(admin, 1) == 1


async def test_a_lost_connection_fails_what_was_on_its_way_and_is_replaced(own_server: PrivateServer) -> None:
    async with shared(own_server.url) as way, redis.asyncio.Redis.from_url(own_server.url) as admin:
        await way.execute("PING")
        blocked = [asyncio.ensure_future(way.execute("BLPOP", "nothing", 0)) for _ in range(3)]
        await asyncio.sleep(0)
        while not int((await admin.info("clients"))["blocked_clients"]):
            await asyncio.sleep(0.001)
        await admin.client_kill_filter(_type="normal", skipme=True)
        for error in await asyncio.gather(*blocked, return_exceptions=True):
            assert isinstance(error, exceptions.ConnectionError)
            assert classify(error).sent
        assert await way.execute("PING") == b"PONG"


async def test_a_connection_that_was_closed_while_it_rested_is_not_used_again(own_server: PrivateServer) -> None:
    async with shared(own_server.url) as way, redis.asyncio.Redis.from_url(own_server.url) as admin:
        await way.execute("PING")
        assert await admin.client_kill_filter(_type="normal", skipme=True) == 1
        while way._wire is not None and way._wire.usable:
            await asyncio.sleep(0.001)
        assert await way.execute("PING") == b"PONG"


async def test_nobody_answers_when_nothing_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    async with shared(f"redis://127.0.0.1:{port}") as way:
        for _ in range(2):
            with pytest.raises(exceptions.ConnectionError) as raised:
                await way.execute("PING")
            assert classify(raised.value).sent is False


async def test_a_server_that_falls_silent_is_left_after_the_time_out() -> None:
    async with false_server(silence, socket_timeout=0.2) as url, shared(url) as way:
        calls = [asyncio.ensure_future(way.execute("PING")) for _ in range(2)]
        began = time.monotonic()
        for error in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(error, exceptions.TimeoutError)
        assert time.monotonic() - began >= 0.2
        assert way._wire is not None
        assert not way._wire.usable


async def test_a_slow_answer_that_goes_on_is_waited_for() -> None:
    """The time-out is for silence."""

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await next_call(reader)
        writer.write(b"$8\r\n")
        for _ in range(8):
            await asyncio.sleep(0.06)
            writer.write(b"x")
        writer.write(b"\r\n")

    async with false_server(drip, socket_timeout=0.3) as url, shared(url) as way:
        assert await way.execute("PING") == b"x" * 8


async def test_a_loop_that_was_blocked_reads_what_came_meanwhile() -> None:
    async with false_server(echo, socket_timeout=0.2) as url, shared(url) as way:
        await way.execute("ECHO", "1")
        call = asyncio.ensure_future(way.execute("ECHO", "2"))
        await asyncio.sleep(0)
        time.sleep(0.5)  # noqa: ASYNC251 - a job that holds the loop up
        assert await call == b"2"


async def test_after_a_call_that_was_given_up_in_silence_the_next_one_takes_another_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A half-open connection would swallow every call until its time-out."""
    monkeypatch.setattr(wire, "SILENT_S", 0.05)
    connections = 0

    async def half_open(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await (silence if connections == 1 else echo)(reader, writer)

    async with false_server(half_open) as url, shared(url) as way:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(way.execute("ECHO", "1"), 0.2)
        assert await way.execute("ECHO", "2") == b"2"
    assert connections == 2


async def test_what_is_on_its_way_when_it_is_left_is_still_answered(own_server: PrivateServer) -> None:
    async with shared(own_server.url) as way, redis.asyncio.Redis.from_url(own_server.url) as admin:
        await way.execute("PING")
        old = way._wire
        blocked = asyncio.ensure_future(way.execute("BLPOP", "list", 0))
        await asyncio.sleep(0)
        way.leave()
        assert await way.execute("PING") == b"PONG"
        assert way._wire is not old
        await admin.rpush("list", "here")
        assert await blocked == [b"list", b"here"]
        assert old is not None
        await asyncio.wait_for(asyncio.shield(old.lost), 5)  # and then it closes


async def test_a_server_that_speaks_another_protocol_is_given_up() -> None:
    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await next_call(reader)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()

    async with false_server(nonsense) as url, shared(url) as way:
        with pytest.raises(exceptions.InvalidResponse):
            await way.execute("PING")


async def test_an_answer_that_nobody_asked_for_ends_the_connection() -> None:
    async def answer_twice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await next_call(reader)
        writer.write(b"+one\r\n+two\r\n")
        await silence(reader, writer)

    async with false_server(answer_twice) as url, shared(url) as way:
        assert await way.execute("PING") == b"one"
        assert way._wire is not None
        assert not way._wire.usable


async def test_large_calls_wait_until_the_server_reads_them(server: PrivateServer) -> None:
    text = "x" * 1_000_000
    async with shared(server.url) as way:
        await way.execute("PING")
        answers = await asyncio.gather(*(way.execute("ECHO", text) for _ in range(20)))
    assert all(answer == text.encode() for answer in answers)


async def test_a_call_that_waits_for_room_was_not_sent_when_the_connection_is_lost() -> None:
    async with false_server(silence) as url, shared(url) as way:
        first = asyncio.ensure_future(way.execute("ECHO", "x" * 30_000_000))
        while way._wire is None or way._wire._room is None:
            await asyncio.sleep(0.001)
        second = asyncio.ensure_future(way.execute("PING"))
        await asyncio.sleep(0)
        await way._wire.close()
        with pytest.raises(exceptions.ConnectionError) as raised:
            await first
        assert classify(raised.value).sent
        with pytest.raises(exceptions.ConnectionError) as raised:
            await second
        assert classify(raised.value).sent is False


async def test_closing_ends_what_is_on_its_way(server: PrivateServer) -> None:
    async with shared(server.url) as way:
        await way.execute("PING")
        blocked = asyncio.ensure_future(way.execute("BLPOP", "nothing", 0))
        await asyncio.sleep(0)
        await way.close()
        with pytest.raises(exceptions.ConnectionError):
            await blocked


async def test_it_may_be_closed_while_it_is_opened(server: PrivateServer, admin: Any) -> None:
    async with shared(server.url) as way:
        call = asyncio.ensure_future(way.execute("PING"))
        await asyncio.sleep(0)
        await way.close()
        with pytest.raises(exceptions.ConnectionError) as raised:  # who calls was not cancelled
            await call
        assert classify(raised.value).sent is False
        with pytest.raises(exceptions.ConnectionError):
            await way.execute("PING")
    assert ours(admin, 0) == 0


async def test_a_connection_that_uvloop_closed_while_it_was_opened_is_a_lost_one(
    server: PrivateServer, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = AsyncTransport(parse(server.url))

    async def closed(way: wire.Shared) -> wire.Wire:
        raise RuntimeError("unable to perform operation on <UnixTransport closed=True>; the handler is closed")

    with monkeypatch.context() as patch:
        patch.setattr(wire.Shared, "_open", closed)
        with pytest.raises(exceptions.ConnectionError):
            await handle.send(inspect.get_stats(keys))
    assert await handle.send(inspect.get_stats(keys))
    await handle.close()


async def test_those_that_were_left_close_with_the_others(own_server: PrivateServer) -> None:
    async with shared(own_server.url) as way:
        await way.execute("PING")
        blocked = asyncio.ensure_future(way.execute("BLPOP", "nothing", 0))
        await asyncio.sleep(0)
        way.leave()
        await way.execute("PING")
        await way.close()
        with pytest.raises(exceptions.ConnectionError):
            await blocked
        assert not way._left


async def test_what_was_renewed_after_the_trouble_began_stays(server: PrivateServer, keys: Keys) -> None:
    """All calls of a lost connection fail at once; the first of them renews, and the others find it done."""
    handle = AsyncTransport(parse(server.url))
    await handle.send(inspect.get_stats(keys))
    began = time.monotonic()
    await handle.drop_idle(began)
    await handle.send(inspect.get_stats(keys))
    assert handle._pool is not None
    assert handle._pool.shared is not None
    opened = handle._pool.shared._wire
    for renew in (handle.drop_idle, handle.reset):
        await renew(began)
    assert handle._pool.shared._wire is opened
    await handle.drop_idle(time.monotonic())
    assert handle._pool.shared._wire is None
    await handle.close()


def test_trouble_in_one_loop_leaves_the_connection_of_another_alone(server: PrivateServer, keys: Keys) -> None:
    handle = AsyncTransport(parse(server.url))

    async def here() -> None:
        await handle.send(inspect.get_stats(keys))
        assert handle._pool is not None
        assert handle._pool.shared is not None
        opened = handle._pool.shared._wire
        await asyncio.to_thread(asyncio.run, elsewhere())
        await handle.send(inspect.get_stats(keys))
        assert opened is not None
        assert opened.usable
        await handle.close()

    async def elsewhere() -> None:
        await handle.drop_idle()
        await handle.reset()

    asyncio.run(here())


async def test_it_counts_as_one_of_the_pools_connections(server: PrivateServer) -> None:
    pool = AsyncPool.connected(parse(f"{server.url}&max_connections=3"))
    assert pool.client.connection_pool.max_connections == 2
    await pool.close()


async def test_without_hiredis_and_with_one_connection_calls_go_through_the_pool(
    server: PrivateServer, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    for url in (f"{server.url}&max_connections=1", server.url):
        handle = AsyncTransport(parse(url))
        assert await handle.send(inspect.get_stats(keys))
        assert handle._pool is not None
        assert handle._pool.shared is None
        await handle.close()
        monkeypatch.setattr(wire, "hiredis", None)


async def test_a_script_that_the_server_lost_is_sent_again(server: PrivateServer, admin: Any, keys: Keys) -> None:
    handle = AsyncTransport(parse(server.url))
    await handle.send(inspect.get_stats(keys))
    admin.script_flush()
    assert await asyncio.gather(*(handle.send(inspect.get_stats(keys)) for _ in range(5)))
    await handle.close()


async def test_a_server_that_was_killed_and_started_again_is_found_again(own_server: PrivateServer, keys: Keys) -> None:
    handle = AsyncTransport(parse(own_server.url))
    await handle.send(inspect.get_stats(keys))
    own_server.kill()
    with pytest.raises(exceptions.ConnectionError):
        while True:
            await handle.send(inspect.get_stats(keys))
    own_server.start()
    assert await handle.send(inspect.get_stats(keys))
    await handle.close()
