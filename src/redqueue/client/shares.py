"""The pools of one process: one for each URL, and for async handles for each event loop, opened at first use.

So a queue may be made when a module is imported, before a fork and outside of any event loop, and be used in threads,
in a second `asyncio.run`, in a forked child, and again after it was closed.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakSet

from redqueue.client.faults import CAUGHT
from redqueue.client.kept import Kept
from redqueue.client.pools import connect, connect_async, most_at_once, of_one_server
from redqueue.client.urls import Location
from redqueue.client.waiting import Held, Waits
from redqueue.client.wire import Shared, can_share


@dataclass(slots=True, eq=False)
class Pool:
    """An opened client and the handles that have a share in it.

    Attributes:
        kept: its connections for calls; None: redis-py finds one for each call.
        lost: the client of a cluster can't learn its layout any more; it forgets the nodes that the URL names.
        renewed_at: when its idle connections were dropped: who was in trouble before need not drop them again.
        probed: which questions about durability its servers were seen to answer.
    """

    client: Any
    close: Callable[[], Any]
    kept: Kept | None = None
    shares: WeakSet[Any] = field(default_factory=WeakSet)
    open: bool = True
    lost: bool = False
    renewed_at: float = 0.0
    probed: set[tuple[str, str]] = field(default_factory=set)

    @classmethod
    def connected(cls, location: Location) -> Pool:
        """A new one."""
        client, close = connect(location)
        return cls(client, close, Kept(client.connection_pool) if of_one_server(location) else None)


@dataclass(slots=True, eq=False)
class AsyncPool:
    """The same of one event loop; of a given client nobody knows which. `living` closes it.

    Attributes:
        shared: the connection of all calls; None: redis-py finds one for each call.
        waits: the connections of reads that wait at the server; None: the same.
        gate: as many of those as may be on their way at once.
        confirming: half as many, of those that wait for a replica or a disk.
    """

    client: Any
    close: Callable[[], Any]
    shared: Shared | None = None
    waits: Waits | None = None
    shares: WeakSet[Any] = field(default_factory=WeakSet)
    open: bool = True
    lost: bool = False
    renewed_at: float = 0.0
    probed: set[tuple[str, str]] = field(default_factory=set)
    loop: asyncio.AbstractEventLoop | None = None
    living: AsyncGenerator[None] | None = None
    gate: asyncio.Semaphore = field(init=False)
    confirming: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self.gate = asyncio.Semaphore(most_at_once(self.client))
        self.confirming = asyncio.Semaphore(max(1, most_at_once(self.client) // 2))

    @classmethod
    def connected(cls, location: Location) -> AsyncPool:
        """A new one, of the loop that runs."""
        client, close = connect_async(location)
        loop = asyncio.get_running_loop()
        if not of_one_server(location) or not can_share(client):
            return cls(client, close, loop=loop)
        return cls(client, close, Shared(client.connection_pool), Waits(client.connection_pool), loop=loop)

    async def shut(self) -> None:
        """Close it, whoever has a share."""
        if self.open and self.living is not None:
            await self.living.aclose()


class Process:
    """The pools of one process. A forked child starts with none and keeps its parent's, untouched, for good.

    Were they collected, their connections would be closed, and with them the parent's: sockets and the loop's
    selector are shared by a fork.
    """

    def __init__(self, parent: Process | None = None) -> None:
        self.pid = os.getpid()
        self.parent = parent
        self.heirs: dict[int, Process] = {}
        self.lock = threading.Lock()
        self.sync: dict[str, Pool] = {}
        self.held = Held()
        self.loops: dict[asyncio.AbstractEventLoop, dict[str, AsyncPool]] = {}

    async def pool_here(self, url: str, location: Location) -> AsyncPool:
        """The pool of the loop that runs, opened when there is none."""
        for closed in [loop for loop in list(self.loops) if loop.is_closed()]:
            self.loops.pop(closed, None)
        pools = self.loops.setdefault(asyncio.get_running_loop(), {})
        pool = pools.get(url)
        if pool is None:
            pool = pools[url] = AsyncPool.connected(location)
            pool.living = _closed_with_loop(pools, url, pool)
            await anext(pool.living)
        return pool


_here = Process()


def process() -> Process:
    """This one's."""
    global _here
    here = _here
    if here.pid != os.getpid():
        # Several threads of a fresh child may come here at once: setdefault gives all of them the same one.
        here = _here = here.heirs.setdefault(os.getpid(), Process(here))
    return here


async def _closed_with_loop(pools: dict[str, AsyncPool], url: str, pool: AsyncPool) -> AsyncGenerator[None]:
    """Closes the pool when it is closed itself: by the last share, or by the event loop before its own end."""
    try:
        yield
    finally:
        pool.open = False
        if pools.get(url) is pool:
            del pools[url]
        if pool.shared is not None:
            await pool.shared.close()
        if pool.waits is not None:
            await pool.waits.close()
        with suppress(*CAUGHT):
            closing: Awaitable[None] = pool.close()
            await closing
