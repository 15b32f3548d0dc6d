"""A client of the user's keeps its own retries: whatever it sends again, nothing is stored twice."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from redqueue import AsyncQueue, JobCancelled, Queue
from redqueue.embedded import PrivateServer

if TYPE_CHECKING:
    from tests.client.conftest import Handles


class Cut:
    """A way to the server that loses the first answer to a script: carried out, and nobody hears of it."""

    def __init__(self, server: PrivateServer) -> None:
        self._server = server
        self.cuts = 0
        self.port = 0

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Cut]:
        listener = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.port = listener.sockets[0].getsockname()[1]
        async with listener:
            yield self

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_unix_connection(str(self._server.socket))
        try:
            while request := await reader.read(65536):
                to_server.write(request)
                answer = await from_server.read(65536)
                if b"EVALSHA" in request and not self.cuts:
                    self.cuts += 1
                    break
                writer.write(answer)
        finally:
            for end in (writer, to_server):
                end.close()
                await end.wait_closed()


async def test_an_async_clients_own_retry_adds_no_second_job(server: PrivateServer) -> None:
    """Faults: D01."""
    with redis.Redis.from_url(server.url) as admin:
        admin.flushall()
    async with AsyncQueue("q", server.url) as direct, Cut(server).listening() as cut:
        await direct.add("load the script")
        retry = AsyncRetry(NoBackoff(), 3)
        async with redis.asyncio.Redis(port=cut.port, retry=retry, retry_on_error=[redis.ConnectionError]) as client:
            job = await AsyncQueue("q", client=client).add("once")
        assert cut.cuts == 1, "the fault was never met"
        assert job.answer == "created"
        assert (await direct.get_stats()).waiting == 2


async def test_a_sync_clients_own_retry_adds_no_second_job(server: PrivateServer) -> None:
    """Faults: D01."""
    with redis.Redis.from_url(server.url) as admin:
        admin.flushall()

    def add_once(port: int) -> str | None:
        retry = Retry(NoBackoff(), 3)
        with redis.Redis(port=port, retry=retry, retry_on_error=[redis.ConnectionError]) as client:
            return Queue("q", client=client).add("once").answer

    async with AsyncQueue("q", server.url) as direct, Cut(server).listening() as cut:
        await direct.add("load the script")
        assert await asyncio.to_thread(add_once, cut.port) == "created"
        assert cut.cuts == 1, "the fault was never met"
        assert (await direct.get_stats()).waiting == 2


class Small:
    """Clients with few connections."""

    def __init__(self, server: PrivateServer, handles: Handles) -> None:
        self._module: Any = redis if handles.queue is Queue else redis.asyncio
        self._path = str(server.socket)

    def pool(self, most: int) -> Any:
        kind = self._module.UnixDomainSocketConnection
        return self._module.ConnectionPool(connection_class=kind, path=self._path, max_connections=most)

    def single(self) -> Any:
        return self._module.Redis(unix_socket_path=self._path, single_connection_client=True)


async def waited_for(queue: AsyncQueue) -> float:
    """Seconds for another add while somebody waits for a job, which is then cancelled."""
    job = await queue.add("t")
    waiting = asyncio.ensure_future(job.result(30))
    await asyncio.sleep(0.3)
    began = time.monotonic()
    for _ in range(3):
        await queue.add("t")
    took = time.monotonic() - began
    await job.cancel("enough")
    with pytest.raises(JobCancelled):
        await waiting
    return took


def waited_for_by_threads(queue: Queue) -> float:
    """The same."""
    job, ended = queue.add("t"), list[Exception]()

    def wait() -> None:
        try:
            job.result(30)
        except JobCancelled as error:
            ended.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.3)
    began = time.monotonic()
    for _ in range(3):
        queue.add("t")
    took = time.monotonic() - began
    job.cancel("enough")
    thread.join(10)
    assert len(ended) == 1
    return took


@pytest.mark.parametrize("kind", ["pool of one", "single connection"])
def test_who_waits_leaves_the_only_connection_to_calls(server: PrivateServer, handles: Handles, kind: str) -> None:
    small = Small(server, handles)

    async def use() -> None:
        client = small.pool(1) if kind == "pool of one" else small.single()
        queue = handles.queue("q", client=client)
        if handles.queue is Queue:
            assert waited_for_by_threads(queue) < 2
            queue.close()
            (client.disconnect if kind == "pool of one" else client.close)()
        else:
            assert await waited_for(queue) < 2
            await queue.close()
            await (client.disconnect if kind == "pool of one" else client.aclose)()

    handles.do(use())


def test_handles_of_one_client_leave_it_a_connection(server: PrivateServer) -> None:
    kind: Any = redis.UnixDomainSocketConnection
    pool = redis.ConnectionPool(connection_class=kind, path=str(server.socket), max_connections=2)
    one, two = Queue("one", client=pool), Queue("two", client=pool)
    other = threading.Thread(target=lambda: list(one.events()))
    other.start()
    time.sleep(0.2)
    assert waited_for_by_threads(two) < 2
    one.close()
    two.close()
    other.join(5)
    assert not other.is_alive()
    pool.disconnect()
