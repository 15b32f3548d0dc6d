"""A client of the user's keeps its own retries: whatever it sends again, nothing is stored twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from redqueue import AsyncQueue, Queue
from redqueue.embedded import PrivateServer


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
