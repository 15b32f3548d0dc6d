from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio
from redis.exceptions import MaxConnectionsError

from redqueue import AsyncQueue, NotConfirmed, Queue, RedisUnavailable, embedded
from redqueue.client import confirming, shares, transport, wire
from redqueue.client.patience import Patience
from redqueue.client.pools import CLIENT_NAME
from redqueue.client.shares import Process, process
from redqueue.client.transport import AsyncTransport, Transport, locate
from redqueue.client.urls import parse
from redqueue.core import inspect
from redqueue.core.keys import Keys
from redqueue.embedded import PrivateServer
from redqueue.errors import ConfigurationError


def ours(admin: Any, expected: int) -> int:
    """How many connections of redqueue's the server has; it may take it a moment to notice that one was closed."""
    deadline = time.monotonic() + 5
    while (count := _count(admin)) != expected and time.monotonic() < deadline:
        time.sleep(0.005)
    return count


def _count(admin: Any) -> int:
    return sum(client["name"] == CLIENT_NAME for client in admin.client_list())


def test_nothing_is_opened_before_the_first_call() -> None:
    Transport(parse("redis://127.0.0.1:1"))
    AsyncTransport(parse("redis+cluster://127.0.0.1:1"))


def test_a_script_that_the_server_lost_is_sent_whole(server: PrivateServer, admin: Any, keys: Keys) -> None:
    handle = Transport(parse(server.url))
    for _ in range(3):
        admin.script_flush()
        assert handle.send(inspect.get_stats(keys))
    handle.close()


async def test_so_it_is_for_tasks(server: PrivateServer, admin: Any, keys: Keys) -> None:
    handle = AsyncTransport(parse(server.url))
    for _ in range(3):
        admin.script_flush()
        assert await handle.send(inspect.get_stats(keys))
    await handle.close()


def test_handles_of_one_url_share_a_pool_and_the_last_one_closes_it(
    server: PrivateServer, admin: Any, keys: Keys
) -> None:
    one, two = Transport(parse(server.url)), Transport(parse(server.url))
    one.send(inspect.get_stats(keys))
    two.send(inspect.get_stats(keys))
    assert one.client() is two.client()
    assert ours(admin, 1) == 1
    one.close()
    one.close()
    assert two.send(inspect.get_stats(keys))
    assert ours(admin, 1) == 1
    two.close()
    assert ours(admin, 0) == 0
    assert one.send(inspect.get_stats(keys))
    one.close()


async def test_tasks_share_a_pool_and_the_last_one_closes_it(server: PrivateServer, admin: Any, keys: Keys) -> None:
    one, two = AsyncTransport(parse(server.url)), AsyncTransport(parse(server.url))
    await one.send(inspect.get_stats(keys))
    await two.send(inspect.get_stats(keys))
    assert await one.client() is await two.client()
    await one.close()
    await one.close()
    assert await two.send(inspect.get_stats(keys))
    assert ours(admin, 1) == 1
    await two.close()
    assert ours(admin, 0) == 0
    assert await one.send(inspect.get_stats(keys))
    await one.close()


def test_a_handle_that_was_thrown_away_keeps_no_share(server: PrivateServer, admin: Any, keys: Keys) -> None:
    one, two = Transport(parse(server.url)), Transport(parse(server.url))
    one.send(inspect.get_stats(keys))
    two.send(inspect.get_stats(keys))
    del one
    two.close()
    assert ours(admin, 0) == 0


def test_each_asyncio_run_has_a_pool_of_its_own_and_closes_it(server: PrivateServer, admin: Any, keys: Keys) -> None:
    handle = AsyncTransport(parse(server.url))

    async def once() -> Any:
        await handle.send(inspect.get_stats(keys))
        return await handle.client()

    first, second = asyncio.run(once()), asyncio.run(once())
    assert first is not second
    assert ours(admin, 0) == 0
    assert not [loop for loop, pools in process().loops.items() if pools]


def test_event_loops_in_threads_do_not_meet(server: PrivateServer, admin: Any, keys: Keys) -> None:
    handle, together, failed = AsyncTransport(parse(server.url)), threading.Barrier(4), list[BaseException]()

    async def use() -> None:
        together.wait()
        for _ in range(50):
            await handle.send(inspect.get_stats(keys))

    def run() -> None:
        try:
            asyncio.run(use())
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert ours(admin, 0) == 0


def test_threads_share_the_pool(server: PrivateServer, admin: Any, keys: Keys) -> None:
    handle, failed = Transport(parse(server.url)), list[BaseException]()

    def use() -> None:
        try:
            for _ in range(50):
                handle.send(inspect.get_stats(keys))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert 1 <= _count(admin) <= 8
    handle.close()
    assert ours(admin, 0) == 0


async def test_many_tasks_take_turns(server: PrivateServer, admin: Any, keys: Keys) -> None:
    async with redis.asyncio.Redis.from_url(server.url, client_name="redqueue", max_connections=3) as client:
        handle = AsyncTransport(None, client)
        await asyncio.gather(*(handle.send(inspect.get_stats(keys)) for _ in range(200)))
        assert ours(admin, 3) == 3


async def test_the_calls_of_many_tasks_share_a_connection(server: PrivateServer, admin: Any, keys: Keys) -> None:
    handle = AsyncTransport(parse(server.url))
    await asyncio.gather(*(handle.send(inspect.get_stats(keys)) for _ in range(200)))
    assert ours(admin, 1) == 1
    await handle.close()


async def test_a_task_does_not_wait_for_its_turn_for_ever(
    server: PrivateServer, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "CONNECT_TIMEOUT", 0.01)
    handle = AsyncTransport(parse(f"{server.url}&max_connections=1"))
    await handle.send(inspect.get_stats(keys))
    assert handle._pool is not None
    await handle._pool.gate.acquire()
    with pytest.raises(MaxConnectionsError):
        await handle.send(inspect.get_stats(keys))
    handle._pool.gate.release()
    assert await handle.send(inspect.get_stats(keys))
    await handle.close()


@pytest.mark.parametrize("held", ["gate", "confirming"])
async def test_a_durable_add_does_not_wait_for_its_turn_for_ever_and_says_that_nothing_was_stored(
    server: PrivateServer, monkeypatch: pytest.MonkeyPatch, held: str
) -> None:
    """Each of those before it may keep its turn for the 5 s for which Redis waits."""
    monkeypatch.setattr(transport, "CONNECT_TIMEOUT", 0.01)
    monkeypatch.setattr(confirming, "CONFIRM_MS", 1)
    async with AsyncQueue("q", f"{server.url}&max_connections=2") as queue:
        queue._runner.patience = Patience(unsent=0.05)
        await queue.get_stats()
        gate = getattr(queue._runner._transport._pool, held)
        while not gate.locked():
            await gate.acquire()
        async with asyncio.timeout(10):
            with pytest.raises(RedisUnavailable, match="Nothing was carried out") as raised:
                await queue.add("t", durability="replica")
        assert not raised.value.sent
        gate.release()
        with pytest.raises(NotConfirmed):  # there is no replica
            await queue.add("t", durability="replica")
        assert (await queue.get_stats()).waiting == 1


def test_a_forked_child_opens_connections_of_its_own(server: PrivateServer, admin: Any, keys: Keys) -> None:
    """Faults: A03."""
    handle = Transport(parse(server.url))
    handle.send(inspect.get_stats(keys))
    child = os.fork()
    if not child:
        fine = handle.send(inspect.get_stats(keys)) and ours_in_child(server, handle)
        os._exit(0 if fine else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert handle.send(inspect.get_stats(keys))
    handle.close()
    assert ours(admin, 0) == 0


def test_the_threads_of_a_fresh_child_share_its_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both find their parent's, and make one of their own at the same time."""
    inherited, at_once = Process(), threading.Barrier(2, timeout=10)
    inherited.pid = -1
    make = Process.__init__

    def make_at_once(self: Process, parent: Process | None = None) -> None:
        make(self, parent)
        at_once.wait()

    monkeypatch.setattr(shares, "_here", inherited)
    monkeypatch.setattr(Process, "__init__", make_at_once)
    with ThreadPoolExecutor(2) as threads:
        first, second = (started.result() for started in [threads.submit(process), threads.submit(process)])
    assert first is second is process()
    assert first.parent is inherited


def ours_in_child(server: PrivateServer, handle: Transport) -> bool:
    with redis.Redis.from_url(server.url, decode_responses=True) as admin:
        opened = ours(admin, 2) == 2
        handle.close()
        return opened and ours(admin, 1) == 1


def test_a_child_forked_inside_a_loop_leaves_its_parents_connections_alone(
    python: Callable[..., str], server: PrivateServer
) -> None:
    """Faults: A03."""
    python(
        """
import asyncio, gc, os, sys
from redqueue import AsyncQueue
queue = AsyncQueue("q", sys.argv[1])

async def use():
    await queue.get_stats()

def in_child():
    # A thread of its own, because the parent's loop still counts as running here.
    import threading
    thread = threading.Thread(target=lambda: asyncio.run(use()))
    thread.start()
    thread.join()
    gc.collect()
    os._exit(0)

async def main():
    await queue.get_stats()
    opened = queue._runner._transport._pool.shared._wire
    child = os.fork()
    if not child:
        in_child()
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    await queue.get_stats()
    assert queue._runner._transport._pool.shared._wire is opened, "the parent had to connect again"

asyncio.run(main())
""",
        server.url,
    )


def test_a_queue_made_at_import_is_used_everywhere_and_never_closed(
    python: Callable[..., str], server: PrivateServer
) -> None:
    printed = python(
        """
import asyncio, os, sys, threading
from redqueue import AsyncQueue, Queue
queue, aqueue = Queue("q", sys.argv[1]), AsyncQueue("q", sys.argv[1])

async def add(job_id):
    return (await aqueue.add("t", None, job_id=job_id)).answer

print(queue.add("t", None, job_id="1").answer)
print(asyncio.run(add("2")), asyncio.run(add("2")))
thread = threading.Thread(target=lambda: print(asyncio.run(add("3")), queue.add("t", None, job_id="3").answer))
thread.start()
thread.join()
queue.close()
print(queue.add("t", None, job_id="4").answer, flush=True)
child = os.fork()
if not child:
    print(queue.add("t", None, job_id="5").answer, asyncio.run(add("6")), flush=True)
    os._exit(0)
os.waitpid(child, 0)
print(queue.add("t", None, job_id="6").answer, asyncio.run(add("7")))
""",
        server.url,
    )
    assert printed.split() == ["created"] * 2 + ["duplicate", "created", "duplicate"] + ["created"] * 3 + [
        "duplicate",
        "created",
    ]


def test_a_given_client_is_used_and_stays_open(server: PrivateServer, keys: Keys) -> None:
    with redis.Redis.from_url(server.url) as client:
        handle = Transport(None, client)
        assert handle.client() is client
        assert handle.send(inspect.get_stats(keys))
        handle.reset()
        handle.close()
        assert handle.send(inspect.get_stats(keys))
        assert client.ping()
    pool = redis.ConnectionPool.from_url(server.url)
    handle = Transport(None, pool)
    assert handle.send(inspect.get_stats(keys))
    handle.close()
    assert handle.send(inspect.get_stats(keys))
    pool.disconnect()


async def test_a_given_async_client_is_used_and_stays_open(server: PrivateServer, keys: Keys) -> None:
    async with redis.asyncio.Redis.from_url(server.url) as client:
        handle = AsyncTransport(None, client)
        assert await handle.client() is client
        assert await handle.send(inspect.get_stats(keys))
        await handle.reset()
        await handle.close()
        assert await handle.send(inspect.get_stats(keys))
    pool = redis.asyncio.ConnectionPool.from_url(server.url)
    handle = AsyncTransport(None, pool)
    assert await handle.send(inspect.get_stats(keys))
    await pool.disconnect()


def test_a_client_that_cannot_work_is_refused_at_construction() -> None:
    sync, tasks = redis.Redis(), redis.asyncio.Redis()
    with pytest.raises(ConfigurationError, match="AsyncQueue"):
        Transport(None, tasks)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"redis\.asyncio\.Redis"):
        AsyncTransport(None, sync)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="RedisCluster"):
        Transport(None, "redis://h")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="RedisCluster"):
        AsyncTransport(None, object())  # type: ignore[arg-type]
    for decoding in (redis.Redis(decode_responses=True), redis.ConnectionPool(decode_responses=True)):
        with pytest.raises(ConfigurationError, match="decode_responses"):
            Transport(None, decoding)
    with pytest.raises(ConfigurationError, match="decode_responses"):
        AsyncTransport(None, redis.asyncio.Redis(decode_responses=True))


def test_url_and_client_contradict_each_other() -> None:
    assert locate(None, object(), lambda: "") is None
    assert locate(None, None, lambda: "redis://h") == parse("redis://h")
    with pytest.raises(ConfigurationError, match="not both"):
        locate("redis://h", object(), lambda: "")


def test_a_server_that_allows_no_client_names_is_used_all_the_same(own_server: PrivateServer, keys: Keys) -> None:
    with redis.Redis.from_url(own_server.url) as admin:
        admin.execute_command("ACL", "SETUSER", "u", "on", ">pw", "~*", "+@all", "-client")
    url = own_server.url.replace("unix://", "unix://u:pw@")
    handle = Transport(parse(url))
    assert handle.send(inspect.get_stats(keys))
    handle.close()


def test_the_urls_own_client_name_is_taken(server: PrivateServer, admin: Any, keys: Keys) -> None:
    handle = Transport(parse(f"{server.url}&client_name=shop"))
    handle.send(inspect.get_stats(keys))
    assert "shop" in [client["name"] for client in admin.client_list()]
    handle.close()


def test_redis_pys_own_retries_are_off(server: PrivateServer, keys: Keys) -> None:
    handle = Transport(parse(server.url))
    handle.send(inspect.get_stats(keys))
    connection = handle.client().connection_pool.make_connection()
    assert connection.retry._retries == 0
    assert not connection.retry_on_error
    assert (connection.socket_timeout, connection.socket_connect_timeout) == (10.0, 5.0)
    handle.close()


def test_tls_verifies_certificate_and_host_unless_told_otherwise() -> None:
    def context(url: str) -> Any:
        return Transport(parse(url)).client().connection_pool.make_connection()

    strict, lax = context("rediss://h:1"), context("rediss://h:1/0?ssl_cert_reqs=none")
    assert (strict.cert_reqs.name, strict.check_hostname) == ("CERT_REQUIRED", True)
    assert (lax.cert_reqs.name, lax.check_hostname) == ("CERT_NONE", False)


def test_an_embedded_server_is_started_and_started_again(handles: Any, tmp_path: Path) -> None:
    queue, do = handles.queue("q", f"embedded://{tmp_path}"), handles.do
    try:
        assert do(queue.add("t")).answer == "created"
        status = embedded.status(tmp_path)
        assert status is not None
        os.kill(status.pid, signal.SIGKILL)
        assert do(queue.add("t")).answer == "created"
        do(queue.close())
    finally:
        embedded.stop(tmp_path)


def test_a_server_that_accepts_and_says_nothing_was_not_sent_the_call(keys: Keys) -> None:
    from redqueue.client.faults import classify

    with socket.create_server(("127.0.0.1", 0)) as silent:
        handle = Transport(parse(f"redis://127.0.0.1:{silent.getsockname()[1]}?socket_timeout=0.1"))
        with pytest.raises(redis.ConnectionError) as raised:
            handle.send(inspect.get_stats(keys))
        assert classify(raised.value).sent is False
        handle.close()


class Drops:
    """A command that drops the first cancel, as `asyncio.wait_for` may on Python 3.11, and then does this."""

    def __init__(self, then: Callable[[], Any]) -> None:
        self._then = then
        self.began = asyncio.Event()

    async def __call__(self, *words: Any) -> Any:
        self.began.set()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            then = self._then()
            return await then if asyncio.iscoroutine(then) else then


def lost() -> Any:
    raise redis.ConnectionError("lost")


@pytest.mark.parametrize("then", [lambda: b"answer", lost])
async def test_a_cancel_that_redis_py_drops_ends_the_call(
    keys: Keys, monkeypatch: pytest.MonkeyPatch, then: Callable[[], Any]
) -> None:
    """Faults: L06."""
    client, dropping = redis.asyncio.Redis(), Drops(then)
    monkeypatch.setattr(client, "execute_command", dropping)
    task = asyncio.create_task(AsyncTransport(None, client).send(inspect.get_stats(keys)))
    await dropping.began.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_so_it_ends_a_read_that_waits_and_without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    for read in ("wait_on", "wait_for_entry"):
        client, dropping = redis.asyncio.Redis(), Drops(lambda: asyncio.sleep(30))
        monkeypatch.setattr(client, "execute_command", dropping)
        handle = AsyncTransport(None, client)
        waits = handle.wait_on("wake", 30) if read == "wait_on" else handle.wait_for_entry("events", "0-0", 30)
        task, began = asyncio.create_task(waits), time.monotonic()
        await dropping.began.wait()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert time.monotonic() - began < 5


async def test_a_call_that_was_not_cancelled_keeps_its_answer_in_a_task_that_was(server: PrivateServer) -> None:
    handle = AsyncTransport(parse(server.url))

    async def cleans_up() -> Any:
        try:
            await asyncio.sleep(30)
        finally:
            return await handle.send(inspect.get_stats(Keys("q", "redqueue")))  # noqa: B012 - that is what is tested

    task = asyncio.create_task(cleans_up())
    await asyncio.sleep(0)
    task.cancel()
    assert await task
    await handle.close()


async def test_a_time_limit_around_an_add_is_never_lost(server: PrivateServer) -> None:
    """Faults: A01."""
    limits, told = list[asyncio.Timeout](), 0
    async with AsyncQueue("q", server.url) as queue:
        await queue.add("t")
        for n in range(1000):
            try:
                async with asyncio.timeout(n % 50 * 0.00002) as limit:
                    limits.append(limit)
                    await queue.add("t")
            except TimeoutError:
                told += 1
    assert sum(one.expired() for one in limits) == told


def test_a_call_under_which_the_pool_is_closed_goes_on(server: PrivateServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with Queue("q", server.url) as queue:
        client: Any = queue._runner._transport.client()
        really = client.execute_command

        def closed_meanwhile(*words: Any) -> Any:
            monkeypatch.setattr(client, "execute_command", really)
            queue.close()
            raise ValueError("I/O operation on closed file.")

        monkeypatch.setattr(client, "execute_command", closed_meanwhile)
        assert queue.add("t").answer == "created"


async def test_a_connection_that_uvloop_closed_under_redis_py_is_a_lost_one(
    real_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "hiredis", None)
    queue = AsyncTransport(parse(real_url))
    call = inspect.get_stats(Keys("q", "redqueue"))
    await queue.send(call)

    async def closed(*words: Any) -> None:
        raise RuntimeError("unable to perform operation on <UnixTransport closed=True>; the handler is closed")

    assert queue._pool is not None
    with monkeypatch.context() as patch:
        patch.setattr(queue._pool.client, "execute_command", closed)
        with pytest.raises(redis.ConnectionError):
            await queue.send(call)
    await queue.send(call)
    await queue.close()
