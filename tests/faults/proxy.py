"""A way to a server that loses, cuts, delays, refuses and doubles what it carries, and counts what it did."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Self

from redqueue.core.script import load, names
from redqueue.embedded import PrivateServer

LIMIT: Final = 2**20
"""Bytes of a line; what is longer comes as a bulk string of a known length."""


class Fault(Enum):
    """What becomes of one command."""

    DROP_REQUEST = "it never arrives, and the connection is cut"
    DROP_REPLY = "it is carried out, its answer is lost, and the connection is cut"
    CUT_REPLY = "it is carried out, and the connection is cut within its answer"
    DELAY_REPLY = "its answer comes late"
    ANSWER = "it never arrives, and an error is answered instead"
    REPEAT = "it arrives once more, some time after it was answered"


@dataclass(eq=False, slots=True)
class Rule:
    """Which commands meet a fault.

    Attributes:
        command: a command's name; or a script's, as in "pump".
        skip: how many go through before.
        times: how many meet it then.
        every: of those, every so-many-th.
        text: of the error that is answered, such as "LOADING Redis is loading".
        seconds: of the delay, or from the first copy to the second.
        met: how many met it so far.
    """

    fault: Fault
    command: str
    skip: int = 0
    times: int = 1
    every: int = 1
    text: str = ""
    seconds: float = 0.0
    met: int = 0
    seen: int = 0

    def meets(self, command: list[bytes]) -> bool:
        """Whether this command meets the fault; it is counted."""
        if name_of(command) != self.command.lower():
            return False
        self.seen += 1
        if self.seen <= self.skip or self.met >= self.times or (self.seen - self.skip - 1) % self.every:
            return False
        self.met += 1
        return True


def name_of(command: list[bytes]) -> str:
    """The command's name, or that of the script that it sends or names."""
    name = command[0].decode().lower()
    if name in ("eval", "evalsha"):
        return SCRIPTS.get(command[1], name)
    return name


@dataclass(eq=False, slots=True)
class _Line:
    """One connection through the proxy."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    awaited: asyncio.Queue[Rule | None]
    silent: bool = False


class Proxy:
    """Listens on ``port`` of 127.0.0.1 while its context lasts.

    Attributes:
        carried: how many commands went to the server.
        swallowed: how many bytes a silent connection took and lost.
        opened: how many connections were made.
    """

    def __init__(self, server: PrivateServer) -> None:
        self.server = server
        self.port = 0
        self.carried = 0
        self.swallowed = 0
        self.opened = 0
        self._rules: list[Rule] = []
        self._lines: set[_Line] = set()
        self._deaf = False
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def add(self, fault: Fault, command: str, **options: Any) -> Rule:
        """A rule from now on; its ``met`` must be looked at, since a fault that was not met proves nothing."""
        rule = Rule(fault, command, **options)
        self._rules.append(rule)
        return rule

    def silence(self) -> int:
        """From now on the connections of now carry nothing, without being closed; new ones work. How many."""
        for line in self._lines:
            line.silent = True
        return len(self._lines)

    def part(self) -> int:
        """The same, and new connections are taken and left without an answer. How many there were."""
        self._deaf = True
        return self.silence()

    def join(self) -> None:
        """New connections work again; those of before stay silent."""
        self._deaf = False

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=LIMIT)
        self.port = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._listener.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with suppress(OSError, asyncio.CancelledError):
            if self._deaf:
                await self._swallow(reader)
            else:
                await self._carry(reader, writer)
        await _close(writer)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_unix_connection(str(self.server.socket), limit=LIMIT)
        line = _Line(writer, to_server, asyncio.Queue())
        self._lines.add(line)
        ways = [
            asyncio.create_task(self._requests(line, reader)),
            asyncio.create_task(self._replies(line, from_server)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._lines.discard(line)
            for way in ways:
                way.cancel()
            await asyncio.wait(ways)
            await _close(to_server)

    async def _requests(self, line: _Line, reader: asyncio.StreamReader) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                raw, command = await read_frame(reader)
                if line.silent:
                    self.swallowed += len(raw)
                    await self._swallow(reader)
                    return
                rule = next((rule for rule in self._rules if rule.meets(command)), None)
                if rule is not None and rule.fault is Fault.DROP_REQUEST:
                    return
                if rule is not None and rule.fault is Fault.ANSWER:
                    line.client.write(b"-%s\r\n" % rule.text.encode())
                    continue
                line.awaited.put_nowait(rule)
                self.carried += 1
                line.server.write(raw)
                if rule is not None and rule.fault is Fault.REPEAT:
                    self._spawn(self._repeat(raw, rule.seconds))

    async def _replies(self, line: _Line, reader: asyncio.StreamReader) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                raw, _ = await read_frame(reader)
                rule = await line.awaited.get()
                if rule is not None and rule.fault is Fault.DROP_REPLY:
                    return
                if rule is not None and rule.fault is Fault.CUT_REPLY:
                    line.client.write(raw[: len(raw) // 2])
                    return
                if rule is not None and rule.fault is Fault.DELAY_REPLY:
                    await asyncio.sleep(rule.seconds)
                if line.silent:
                    self.swallowed += len(raw)
                else:
                    line.client.write(raw)
        while line.silent:
            await asyncio.sleep(3600)  # whoever is at the other end hears nothing of it

    async def _swallow(self, reader: asyncio.StreamReader) -> None:
        while lost := await reader.read(LIMIT):
            self.swallowed += len(lost)

    async def _repeat(self, raw: bytes, seconds: float) -> None:
        await asyncio.sleep(seconds)
        reader, writer = await asyncio.open_unix_connection(str(self.server.socket), limit=LIMIT)
        try:
            writer.write(raw)
            await read_frame(reader)
        finally:
            await _close(writer)

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def read_frame(reader: asyncio.StreamReader) -> tuple[bytes, list[bytes]]:
    """A whole value of the protocol's second version: its bytes, and its parts if it is a list of strings."""
    head = await reader.readuntil(b"\r\n")
    kind, rest = head[:1], head[1:-2]
    if kind == b"$" and rest != b"-1":
        body = await reader.readexactly(int(rest) + 2)
        return head + body, [body[:-2]]
    if kind != b"*":
        return head, []
    pieces, parts = [head], list[bytes]()
    for _ in range(int(rest)):
        raw, inner = await read_frame(reader)
        pieces.append(raw)
        parts += inner
    return b"".join(pieces), parts


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError, asyncio.CancelledError):
        await writer.wait_closed()


def _scripts() -> dict[bytes, str]:
    scripts = [load(name) for name in names()]
    return {key: one.name for one in scripts for key in (one.sha.encode(), one.text.encode())}


SCRIPTS: Final = _scripts()
"""Which script a digest or a text is."""
