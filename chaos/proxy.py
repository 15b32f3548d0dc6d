"""A TCP proxy between redqueue and Redis that loses replies and cuts the way, in a thread of its own.

A lost reply is what a network makes of one: Redis has carried the call out, the answer never comes, and the connection
is gone, at once or only in silence. A reply is what arrives from Redis in one piece; a long one may be lost in part.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, Self

SILENT: Final = 0.1
"""The share of lost replies whose connection stays open, and answers nothing any more."""
_CHUNK: Final = 65536


class Proxy:
    """Listens on a port of 127.0.0.1 and passes on to a unix socket.

    Args:
        loss: the share of replies that are lost; may be changed at any time.
    Attributes:
        lost: replies that were lost so far.
        cut_off: connections that were cut by `cut`.
    """

    def __init__(self, socket: Path, *, loss: float = 0, seed: int = 0) -> None:
        self.loss = loss
        self.lost = 0
        self.cut_off = 0
        self.port = 0
        self._socket = socket
        self._random = random.Random(seed)
        self._open = True
        self._ways: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    @property
    def url(self) -> str:
        """For a client."""
        return f"redis://127.0.0.1:{self.port}/0"

    def cut(self) -> None:
        """Cut all connections, and let none through until `mend`."""
        self._call(self._cut)

    def mend(self) -> None:
        """Let connections through again."""
        self._call(lambda: setattr(self, "_open", True))

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *exc: object) -> None:
        self._call(self._server.close)
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, function: Callable[[], object]) -> None:
        async def call() -> None:
            function()
            await asyncio.sleep(0)

        asyncio.run_coroutine_threadsafe(call(), self._loop).result()

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._accept, "127.0.0.1", 0)

    def _cut(self) -> None:
        self._open = False
        self.cut_off += len(self._ways)
        for way in self._ways:
            way.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._open:
            writer.close()
            return
        way = asyncio.current_task()
        assert way is not None
        self._ways.add(way)
        try:
            await self._pass(reader, writer)
        except (asyncio.CancelledError, OSError):
            pass  # both sides learn of it by the closed connection
        finally:
            self._ways.discard(way)
            writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_reader, to_writer = await asyncio.open_unix_connection(str(self._socket))
        requests = asyncio.ensure_future(_copy(reader, to_writer))
        replies = asyncio.ensure_future(self._copy_replies(to_reader, writer))
        try:
            await asyncio.wait([requests, replies], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in (requests, replies):
                one.cancel()
                with contextlib.suppress(asyncio.CancelledError, OSError):
                    await one
            to_writer.close()

    async def _copy_replies(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(_CHUNK):
            if self._random.random() < self.loss:
                self.lost += 1
                if self._random.random() < SILENT:
                    await reader.read(-1)  # until the client has lost its patience
                return
            writer.write(piece)
            await writer.drain()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(_CHUNK):
        writer.write(piece)
        await writer.drain()
