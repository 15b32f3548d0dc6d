"""The wires of reads that wait at the server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import pytest
import redis
from redis.exceptions import ConnectionError, MaxConnectionsError
from tests.client.test_transport import ours

from redqueue.client.shares import AsyncPool
from redqueue.client.transport import AsyncTransport
from redqueue.client.urls import parse
from redqueue.client.waiting import Waits
from redqueue.core import inspect
from redqueue.core.keys import Keys
from redqueue.embedded import PrivateServer

LIMIT = 3


@pytest.fixture
async def pool(server: PrivateServer) -> AsyncIterator[AsyncPool]:
    """Of three connections, one of which is for calls."""
    pool = AsyncPool.connected(parse(f"{server.url}&max_connections={LIMIT}"))
    try:
        yield pool
    finally:
        assert pool.waits is not None
        await pool.waits.close()
        await pool.close()


@pytest.fixture
def waits(pool: AsyncPool) -> Waits:
    assert pool.waits is not None
    return pool.waits


@pytest.fixture
def admin(server: PrivateServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url) as client:
        yield client


def blpop(name: str, seconds: float = 30) -> tuple[str, str, float]:
    return "BLPOP", name, seconds


async def until_blocked(admin: redis.Redis, many: int = 1) -> None:
    """Until so many clients wait at the server."""
    async with asyncio.timeout(5):
        while admin.info("clients")["blocked_clients"] != many:
            await asyncio.sleep(0.001)


async def test_reads_one_after_the_other_take_one_connection(admin: redis.Redis, waits: Waits) -> None:
    for n in range(5):
        admin.rpush("a", n)
        assert await waits.read(blpop("a")) == [b"a", str(n).encode()]
    assert ours(admin, 1) == 1


async def test_reads_at_once_have_one_each_and_an_answer_is_nobody_elses(admin: redis.Redis, waits: Waits) -> None:
    first, second = (asyncio.ensure_future(waits.read(blpop(name))) for name in "ab")
    await until_blocked(admin, 2)
    admin.rpush("b", "to the second")
    assert await second == [b"b", b"to the second"]
    admin.rpush("a", "to the first")
    assert await first == [b"a", b"to the first"]


async def test_the_pools_limit_holds(admin: redis.Redis, waits: Waits) -> None:
    """One of its three connections is for calls."""
    reads = [asyncio.ensure_future(waits.read(blpop(name))) for name in "ab"]
    await until_blocked(admin, 2)
    with pytest.raises(MaxConnectionsError):
        await waits.read(blpop("c"))
    for read in reads:
        read.cancel()
    await asyncio.wait(reads)
    assert await waits.read(blpop("c", 0.01)) is None


@pytest.mark.parametrize("how", ["cancelled", "no longer wanted"])
async def test_what_comes_for_a_read_that_was_given_up_is_not_the_next_ones(
    admin: redis.Redis, waits: Waits, how: str
) -> None:
    """Faults: L06."""
    until = asyncio.get_running_loop().create_future()
    reading = asyncio.ensure_future(waits.read(blpop("a"), until))
    await until_blocked(admin)
    if how == "cancelled":
        reading.cancel()
        await asyncio.wait([reading])
        assert reading.cancelled()
    else:
        until.set_result(None)
        assert await reading is None
    await until_blocked(admin, 0)
    admin.rpush("a", "of the first")
    admin.rpush("b", "of the second")
    assert await waits.read(blpop("b")) == [b"b", b"of the second"]
    assert admin.llen("a") == 1


async def test_who_waits_for_many_reads_is_called_back_by_none_that_is_over(admin: redis.Redis, waits: Waits) -> None:
    until = asyncio.get_running_loop().create_future()
    admin.rpush("a", *range(20))
    for _ in range(20):
        await waits.read(blpop("a"), until)
    assert not until._callbacks


async def test_who_gives_up_does_not_wait_for_a_connection() -> None:
    """To a server that never says a word."""
    until = asyncio.get_running_loop().create_future()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        until.set_result(None)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    handle = AsyncTransport(parse(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"))
    began = time.monotonic()
    assert await handle.wait_on("a", 30, until) is None
    assert time.monotonic() - began < 2
    await handle.close()
    server.close()


async def test_a_connection_that_was_lost_at_rest_is_replaced_without_a_word(admin: redis.Redis, waits: Waits) -> None:
    await waits.read(blpop("a", 0.01))
    admin.client_kill_filter(_type="normal", skipme=True)
    async with asyncio.timeout(5):
        while waits._at_rest[0].wire.usable:
            await asyncio.sleep(0)
    admin.rpush("a", "after it")
    assert await waits.read(blpop("a")) == [b"a", b"after it"]


async def test_a_connection_that_is_lost_under_a_read_ends_it(admin: redis.Redis, waits: Waits) -> None:
    reading = asyncio.ensure_future(waits.read(blpop("a")))
    await until_blocked(admin)
    admin.client_kill_filter(_type="normal", skipme=True)
    with pytest.raises(ConnectionError):
        await reading
    assert await waits.read(blpop("a", 0.01)) is None


async def test_an_error_that_the_server_answers_with_leaves_the_connection(admin: redis.Redis, waits: Waits) -> None:
    admin.set("a", "no list")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        await waits.read(blpop("a"))
    assert await waits.read(blpop("b", 0.01)) is None
    assert ours(admin, 1) == 1


async def test_idle_ones_make_room_for_others(pool: AsyncPool, waits: Waits) -> None:
    reads = [waits.read(blpop(name, 0.01)) for name in "ab"]
    await asyncio.gather(*reads)
    with pytest.raises(MaxConnectionsError):
        await pool.client.ping()
    await waits.make_room()
    assert await pool.client.ping()
    assert await waits.read(blpop("a", 0.01)) is None


async def test_closing_the_pool_ends_a_read_that_waits(server: PrivateServer, admin: redis.Redis) -> None:
    handle = AsyncTransport(parse(server.url))
    await handle.send(inspect.get_stats(Keys("q", "redqueue")))
    reading = asyncio.ensure_future(handle.wait_on("a", 30))
    await until_blocked(admin)
    began = time.monotonic()
    await handle.close()
    with pytest.raises(ConnectionError):
        await reading
    assert time.monotonic() - began < 2
    assert ours(admin, 0) == 0


async def test_a_read_that_is_cancelled_while_its_connection_opens_loses_no_place_in_the_pool(
    pool: AsyncPool, waits: Waits
) -> None:
    """After each number of turns of the loop.

    Faults: A01.
    """
    for turns in range(60):
        reading = asyncio.ensure_future(waits.read(blpop("a")))
        for _ in range(turns):
            await asyncio.sleep(0)
        reading.cancel()
        await asyncio.wait([reading])
        await waits.drop_idle()
        assert not pool.client.connection_pool._in_use_connections, turns


async def test_a_pool_that_is_closed_at_any_moment_leaves_no_connection_and_no_read_behind(
    server: PrivateServer, admin: redis.Redis
) -> None:
    """After each number of turns of the loop."""
    for turns in range(60):
        handle = AsyncTransport(parse(server.url))
        reading = asyncio.ensure_future(handle.wait_on("a", 30))
        for _ in range(turns):
            await asyncio.sleep(0)
        if handle._pool is None:  # it has not begun
            reading.cancel()
        await handle.close()
        with pytest.raises((ConnectionError, asyncio.CancelledError)):
            await asyncio.wait_for(reading, 5)
    assert ours(admin, 0) == 0
