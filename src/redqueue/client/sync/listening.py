# Generated from client/aio/listening.py by make gen; do not edit.
"""Reading a queue's events one after the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from typing import Final

from redqueue.client.sync.runner import Runner
from redqueue.core.events import Listener
from redqueue.errors import RedisUnavailable
from redqueue.records import Event

_BLOCK_S: Final = 5.0


def listen(runner: Runner, listener: Listener) -> Generator[Event]:
    """What a listener wants, until the handle is closed. While Redis is away it is tried again; nothing is lost or
    told twice."""
    closing = runner.closing()
    while not closing.done():
        try:
            found = runner.run(listener.next_call(), closing)
        except RedisUnavailable:
            continue  # tried for seconds, with growing waits
        events = deque(listener.take(found))
        while events and not closing.done():
            yield events.popleft()
        if listener.idle:
            runner.wait_for_event(listener.block_after, _BLOCK_S, closing)
