"""One connection that all calls of an event loop share: none waits for another's answer before it is sent.

redis-py opens it, with all that its settings ask for (TLS, credentials, database, name), and hands the socket over. A
round trip then costs a third of the time that one through redis-py's pool takes, and a tenth when many are on their
way: there is no lock, task or time-out for each call, and hiredis reads all answers that came with one look.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import Any, Final

from redis import exceptions

try:
    import hiredis as _hiredis
except ImportError:  # the extra `fast`: calls go through redis-py's pool without it
    _hiredis = None  # type: ignore[assignment]

hiredis: Any = _hiredis

SILENT_S: Final = 0.5
"""When a call is given up and the server has said nothing for so long, later ones take another connection."""

CLOSE_WITHIN: Final = 1.0
LOOK_ONCE_MORE_S: Final = 0.05

_MORE: Final = object()
_NOT_OPENED: Final = "Error connecting to it: the connection was closed"


def can_share(client: Any) -> bool:
    """Whether a client's calls can share a connection beside those of its pool, and within the pool's limit."""
    return hasattr(hiredis, "pack_command") and client.connection_pool.max_connections > 1


class Shared:
    """The connection that the calls of one pool share, opened when there is none that is usable."""

    __slots__ = ("_closed", "_left", "_opening", "_pool", "_wire")

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._pool.max_connections -= 1
        self._wire: Wire | None = None
        self._left: set[Wire] = set()
        self._opening: asyncio.Task[Wire] | None = None
        self._closed = False

    async def execute(self, *words: Any) -> Any:
        """The answer to one command.

        Raises:
            What redis-py raises: an error that the server answers with, a lost connection, no answer in time.
        """
        wire = self._wire
        if wire is None or not wire.usable:
            wire = await self._opened()
        return await wire.execute(words)

    def leave(self) -> None:
        """Open another one for the next call; what is on its way is still answered."""
        wire, self._wire = self._wire, None
        if wire is not None and not wire.lost.done():
            self._left.add(wire)
            wire.lost.add_done_callback(lambda _: self._left.discard(wire))
            wire.retire()

    async def close(self) -> None:
        """Calls that are on their way fail, and so do later ones."""
        self._closed = True
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait({self._opening}, timeout=CLOSE_WITHIN)
        self.leave()
        await asyncio.gather(*(wire.close() for wire in self._left))

    async def _opened(self) -> Wire:
        """The new one; all that ask meanwhile get the same, and it is opened also when they give up."""
        self.leave()
        if self._closed:
            raise exceptions.ConnectionError(_NOT_OPENED)
        if self._opening is None:
            self._opening = asyncio.get_running_loop().create_task(self._open())
            self._opening.add_done_callback(self._keep)
        opening, task = self._opening, asyncio.current_task()
        cancels = 0 if task is None else task.cancelling()
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            if opening.cancelled() and (task is None or task.cancelling() == cancels):
                raise exceptions.ConnectionError(_NOT_OPENED) from None
            raise

    def _keep(self, opening: asyncio.Task[Wire]) -> None:
        self._opening = None
        if opening.cancelled() or opening.exception() is not None:
            return
        self._wire = opening.result()
        if self._closed:
            self._wire.abort()

    async def _open(self) -> Wire:
        connection = self._pool.connection_class(**self._pool.connection_kwargs)
        try:
            await connection.connect()
            return Wire(connection)
        except BaseException:
            connection._close()
            raise


class Wire(asyncio.Protocol):
    """An open connection.

    Attributes:
        usable: it takes further calls.
        lost: done when it is closed.
    """

    def __init__(self, connection: Any) -> None:
        self.usable = True
        # Its streams would close the socket when they are collected.
        self._connection = connection
        self._answer_within: float = connection.socket_timeout or float("inf")
        self._loop = asyncio.get_running_loop()
        self._replies = hiredis.Reader(
            protocolError=exceptions.InvalidResponse,
            replyError=connection._parser.parse_error,
            notEnoughData=_MORE,
        )
        self._asked: deque[asyncio.Future[Any]] = deque()
        self._unsent: list[bytes] = []
        self._heard_at = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._in_doubt = False
        self._room: asyncio.Future[None] | None = None
        self.lost: asyncio.Future[None] = self._loop.create_future()
        self._transport: asyncio.Transport = connection._writer.transport
        self._transport.set_protocol(self)

    @property
    def at_rest(self) -> bool:
        """Whether it takes further calls, and none waits for an answer."""
        return self.usable and not self._asked and not self._transport.is_closing()

    async def execute(self, words: tuple[Any, ...], answer: asyncio.Future[Any] | None = None) -> Any:
        """The answer to one command.

        Args:
            answer: a future for it; who sets it meanwhile waits no longer.
        """
        packed: bytes = hiredis.pack_command(words)
        while self._room is not None:
            await asyncio.shield(self._room)
        if self._transport.is_closing():
            raise exceptions.ConnectionError(_NOT_OPENED)
        if answer is None:
            answer = self._loop.create_future()
        self._send(packed)
        self._asked.append(answer)
        try:
            return await answer
        except asyncio.CancelledError:
            if self._loop.time() - self._heard_at > SILENT_S:
                self.retire()
            raise

    def retire(self) -> None:
        """Take no more calls, and close when the last answer is in."""
        self.usable = False
        if not self._asked:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self.usable = False
        self._transport.abort()

    async def close(self) -> None:
        """The same, and return when it is closed."""
        self.abort()
        await asyncio.wait({self.lost}, timeout=CLOSE_WITHIN)

    def _send(self, packed: bytes) -> None:
        """At once, or, while others are on their way, with all that follows in this turn of the loop."""
        if self._asked:
            if not self._unsent:
                self._loop.call_soon(self._flush)
            self._unsent.append(packed)
            return
        self._heard_at = self._loop.time()
        self._transport.write(packed)
        if self._timer is None and self._answer_within != float("inf"):
            self._timer = self._loop.call_later(self._answer_within, self._look)

    def _flush(self) -> None:
        unsent, self._unsent = self._unsent, []
        if unsent:
            self._transport.write(b"".join(unsent))

    # -- what the event loop calls

    def data_received(self, data: bytes) -> None:
        """Answers, in the order of the calls."""
        self._heard_at = self._loop.time()
        self._in_doubt = False
        try:
            self._replies.feed(data)
            while (reply := self._replies.gets()) is not _MORE:
                answer = self._asked.popleft()
                if answer.done():  # given up
                    continue
                if isinstance(reply, Exception):
                    answer.set_exception(reply)
                else:
                    answer.set_result(reply)
        except (exceptions.InvalidResponse, IndexError) as error:  # no answer, or to no call
            self._fail(exceptions.InvalidResponse(str(error)))
            self._transport.abort()
        if not self.usable and not self._asked:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody knows what became of the calls that wait for an answer."""
        why = "Connection closed by server." if exc is None else f"Connection lost: {exc}"
        self._fail(exceptions.ConnectionError(why))
        if not self.lost.done():
            self.lost.set_result(None)
        with suppress(RuntimeError):  # the loop has ended
            self._connection._close()

    def pause_writing(self) -> None:
        """The server doesn't read as fast as this sends."""
        self._room = self._loop.create_future()

    def resume_writing(self) -> None:
        """It has caught up."""
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)

    def _look(self) -> None:
        """Whether the oldest call waits too long. A loop that was blocked reads what came meanwhile first."""
        self._timer = None
        if not self._asked:
            return
        left = self._heard_at + self._answer_within - self._loop.time()
        if left <= 0 and self._in_doubt:
            self._fail(exceptions.TimeoutError("Timeout reading from socket"))
            self._transport.abort()
            return
        self._in_doubt = left <= 0
        self._timer = self._loop.call_later(max(left, LOOK_ONCE_MORE_S), self._look)

    def _fail(self, error: Exception) -> None:
        self.usable = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._unsent.clear()
        while self._asked:
            answer = self._asked.popleft()
            if not answer.done():
                answer.set_exception(error)
        self.resume_writing()
