"""Looking at jobs for many clients at once: a look is shared, and so is the reading of a queue's events."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from contextvars import Context
from typing import Final, NamedTuple

from redqueue.client.aio.queue import AsyncQueue
from redqueue.client.aio.service import AsyncJobQueueService
from redqueue.core.events import Cursor, Tail, after, happenings, moved, tail
from redqueue.errors import RedisUnavailable
from redqueue.records import JobStatus
from redqueue.web.answers import etag_of, json_bytes

BLOCK_S: Final = 2.0
"""Seconds for which a reader waits for an event; it ends after that when no client waits any more."""
LOOK_AGAIN_S: Final = 5.0
"""Seconds after which a waiting client's job is looked at whatever happened: no event tells of its place in line."""
LOOKS_AT_ONCE: Final = 16
"""Round trips under way: a thousand clients don't open a connection each."""

_log: Final = logging.getLogger("redqueue.web")


class Seen(NamedTuple):
    """One look at a job: its status, and the answer that tells it. Empty when there is none."""

    status: JobStatus | None
    body: bytes
    etag: str

    @property
    def moves(self) -> bool:
        """Whether there is something to wait for."""
        return self.status is not None and self.status.status in ("pending", "processing")


NOTHING: Final = Seen(None, b"", "")


class Changes:
    """Looks at jobs, and waits for what becomes of them; of one event loop.

    Looks that are asked for in one turn of the loop are one round trip a job. Those who wait share one reader of events
    a queue, and so one connection.
    """

    def __init__(self, service: AsyncJobQueueService) -> None:
        self._service = service
        self._looks: dict[tuple[str, str], asyncio.Task[Seen]] = {}
        self._gate = asyncio.Semaphore(LOOKS_AT_ONCE)
        self._readers: dict[str, _Reader] = {}

    async def look(self, job_type: str, job_id: str) -> Seen:
        """The job as it stands.

        Raises:
            InvalidName: of a type or an id.
            RedisUnavailable, RedisRefused, RedisFull: of Redis.
        """
        coming = self._looks.get((job_type, job_id))
        if coming is None:
            look = self._look(job_type, job_id)
            coming = asyncio.create_task(look, name="redqueue web: look", context=Context())
            coming.add_done_callback(_not_lost)
            self._looks[job_type, job_id] = coming
        return await asyncio.shield(coming)

    async def next(self, job_type: str, job_id: str, known: str, seconds: float) -> Seen:
        """The first look that differs from the one with that etag, or shows that the job ended; else the last one."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + seconds
        async with self._reader(job_type).told_of(job_id, min(seconds, LOOK_AGAIN_S)) as news:
            while True:
                news.clear()
                seen = await self.look(job_type, job_id)
                left = ends - loop.time()
                if not seen.moves or seen.etag != known or left <= 0:
                    return seen
                await _in_time(news, min(left, LOOK_AGAIN_S))

    async def _look(self, job_type: str, job_id: str) -> Seen:
        try:
            await asyncio.sleep(0)  # those who come in the same turn of the loop share it
            await self._gate.acquire()
        finally:
            del self._looks[job_type, job_id]  # who comes later may see more
        try:
            status = await self._service.get_job_status(job_type, job_id)
        finally:
            self._gate.release()
        if status is None:
            return NOTHING
        body = json_bytes(status.to_wire())
        return Seen(status, body, etag_of(body))

    def _reader(self, job_type: str) -> _Reader:
        reader = self._readers.get(job_type)
        if reader is None:
            reader = self._readers[job_type] = _Reader(self._service.queue(job_type))
        return reader


class _Reader:
    """Follows a queue's events as long as somebody waits for one of its jobs, until the service is closed."""

    def __init__(self, queue: AsyncQueue) -> None:
        self._runner = queue._runner
        self._waiting: dict[bytes, set[asyncio.Event]] = {}
        self._follows = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def told_of(self, job_id: str, seconds: float) -> AsyncIterator[asyncio.Event]:
        """What is set when something happens to the job. Entered once the stream is followed, or after that long."""
        id, news = job_id.encode(), asyncio.Event()
        waiting = self._waiting.setdefault(id, set())
        waiting.add(news)
        try:
            if self._task is None or self._task.done():
                self._follows.clear()
                self._task = asyncio.create_task(self._read(), name="redqueue web: read", context=Context())
            await _in_time(self._follows, seconds)
            yield news
        finally:
            waiting.discard(news)
            if not waiting and self._waiting.get(id) is waiting:
                del self._waiting[id]

    async def _read(self) -> None:
        cursor: Cursor | None = None
        closing = self._runner.closing()
        try:
            while self._waiting and not closing.done():
                with suppress(RedisUnavailable):  # tried for seconds, with growing waits
                    found = await self._runner.run(tail(self._runner.keys, cursor), closing)
                    cursor = self._take(cursor, found)
                    if not found.entries:
                        after_it = str(max(cursor.entry, found.newest))
                        await self._runner.wait_for_event(after_it, BLOCK_S, closing)
        except Exception as error:
            _log.warning(
                "long polling can't follow events and looks every %g s: %s", LOOK_AGAIN_S, type(error).__name__
            )
        finally:
            self._follows.set()

    def _take(self, cursor: Cursor | None, found: Tail) -> Cursor:
        """Tell those whom it concerns; answers behind what to go on."""
        if cursor is None:
            self._follows.set()
            return after(found.newest)
        touched = {one.job_id for entry in found.entries for one in happenings(entry.fields)}
        if found.gap or None in touched:
            touched = set(self._waiting)
        for job_id in touched:
            for news in self._waiting.get(job_id or b"", ()):
                news.set()
        return moved(cursor, found)


async def _in_time(event: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def _not_lost(look: asyncio.Task[Seen]) -> None:
    """What a look raised when all who asked for it have left concerns nobody."""
    if not look.cancelled():
        look.exception()
