"""Reads that wait at the server, and the connections that they hold meanwhile."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from weakref import WeakKeyDictionary

from redqueue.client.pools import connections_of

LOOK_AGAIN_S: Final = 0.1
"""How often who waits looks itself, where no connection is left that could wait at the server."""


class Held:
    """How many connections of each pool are held by reads that wait. Several handles may have one pool."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: WeakKeyDictionary[Any, int] = WeakKeyDictionary()

    @contextmanager
    def one_more(self, client: Any) -> Iterator[bool]:
        """Whether one more may be held, so that another one is left for calls."""
        pool = getattr(client, "connection_pool", client)
        with self._lock:
            others = self._counts.get(pool, 0)
            held = others + 1 < connections_of(client)
            self._counts[pool] = others + held
        try:
            yield held
        finally:
            with self._lock:
                self._counts[pool] -= held


def blocking_read(client: Any, stream: str, after: str, seconds: float) -> tuple[Any, ...]:
    """The words of a read that waits at the server for an entry of a stream."""
    ms = int(1000 * most_seconds(client, seconds))
    return "XREAD", "COUNT", 1, "BLOCK", max(ms, 1), "STREAMS", stream, after  # 0 would be for ever


def blocking_pop(client: Any, name: str, seconds: float) -> tuple[Any, ...]:
    """The same for an item of a list."""
    return "BLPOP", name, f"{max(most_seconds(client, seconds), 0.001):.3f}"


def most_seconds(client: Any, seconds: float) -> float:
    """That long; or so that it ends well before a short `socket_timeout` takes the connection for lost."""
    options = getattr(getattr(client, "connection_pool", None), "connection_kwargs", {})
    # Redis looks for who has waited long enough ten times a second.
    return min(seconds, (options.get("socket_timeout") or math.inf) * 0.75 - 0.1)
