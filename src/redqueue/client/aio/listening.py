"""Reading a queue's events one after the other."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator
from typing import Final

from redqueue.client.aio.runner import AsyncRunner
from redqueue.core.events import Listener
from redqueue.errors import RedisUnavailable
from redqueue.records import Event

_BLOCK_S: Final = 5.0


async def listen(runner: AsyncRunner, listener: Listener) -> AsyncGenerator[Event]:
    """What a listener wants, until the handle is closed. While Redis is away it is tried again; nothing is lost or
    told twice."""
    closing = runner.closing()
    while not closing.done():
        try:
            found = await runner.run(listener.next_call(), closing)
        except RedisUnavailable:
            continue  # tried for seconds, with growing waits
        events = deque(listener.take(found))
        while events and not closing.done():
            yield events.popleft()
        if listener.idle:
            await runner.wait_for_event(listener.block_after, _BLOCK_S, closing)
