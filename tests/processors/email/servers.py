"""Mail servers of the tests' own: a real one, and one that says what it is told to say."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any, ClassVar, Final

from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword

from redqueue.processors.email import SmtpSender

PASSWORD: Final = "correct-horse"


@dataclass
class Mail:
    """What a server accepted."""

    sender: str
    recipients: list[str]
    raw: bytes

    @property
    def message(self) -> EmailMessage:
        return message_from_bytes(self.raw, policy=policy.default)


@dataclass
class RealServer:
    """aiosmtpd in a thread, and what it took."""

    port: int = 0
    mails: list[Mail] = field(default_factory=list)
    utf8: list[bool] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    connections: int = 0

    async def handle_EHLO(self, server: Any, session: Any, envelope: Any, hostname: str, replies: list[str]) -> Any:
        session.host_name = hostname
        self.connections += 1
        return replies

    async def handle_RCPT(self, server: Any, session: Any, envelope: Envelope, address: str, options: Any) -> str:
        if reply := self.refused.get(address):
            return reply
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes) and envelope.mail_from is not None
        self.mails.append(Mail(envelope.mail_from, list(envelope.rcpt_tos), envelope.content))
        self.utf8.append(envelope.smtp_utf8)
        return "250 queued as 42"


def authenticate(server: Any, session: Any, envelope: Any, mechanism: str, data: object) -> AuthResult:
    """Takes "shop" with the password of the tests."""
    assert isinstance(data, LoginPassword)
    return AuthResult(success=(data.login, data.password) == (b"shop", PASSWORD.encode()), handled=False)


Reply = str | None
"""What is said; None: it hangs up; "": it says nothing, for ever."""


@dataclass
class ScriptedServer:
    """Says 250 and the like, but for what `replies` says at a verb, "connect" or "." (after the message).

    A list of replies is used up from the front, the last one stays.
    """

    replies: dict[str, list[Reply]]
    port: int = 0
    commands: list[str] = field(default_factory=list)
    messages: list[bytes] = field(default_factory=list)
    open: int = 0
    silent: asyncio.Event = field(default_factory=asyncio.Event)

    DEFAULTS: ClassVar[dict[str, str]] = {
        "connect": "220 hello",
        "EHLO": "250-here\r\n250-AUTH PLAIN LOGIN\r\n250 SIZE 50000000",
        "DATA": "354 go on",
        "QUIT": "221 bye",
        "AUTH": "235 welcome",
    }

    def reply(self, verb: str) -> Reply:
        said = self.replies.get(verb)
        if said is None:
            return self.DEFAULTS.get(verb, "250 ok")
        return said.pop(0) if len(said) > 1 else said[0]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            verb = "connect"
            while await self._say(writer, reply := self.reply(verb)):
                if verb == "DATA" and reply is not None and reply.startswith("354"):
                    verb, message = ".", await reader.readuntil(b"\r\n.\r\n")
                    self.messages.append(message)
                    continue
                line = (await reader.readline()).decode()
                if not line or verb == "QUIT":
                    break
                self.commands.append(line.strip())
                verb = line.split()[0].upper()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            writer.close()

    async def _say(self, writer: asyncio.StreamWriter, reply: Reply) -> bool:
        if reply is None:
            return False
        if reply == "":
            self.silent.set()
            return True
        writer.write(reply.encode() + b"\r\n")
        await writer.drain()
        return True


@asynccontextmanager
async def scripted(**replies: Reply | list[Reply]) -> AsyncIterator[ScriptedServer]:
    """A server on this loop. `end` stands for what is said after the message."""
    said = {("." if verb == "end" else verb): one if isinstance(one, list) else [one] for verb, one in replies.items()}
    script = ScriptedServer(said)
    server = await asyncio.start_server(script.serve, "127.0.0.1", 0)
    script.port = server.sockets[0].getsockname()[1]
    try:
        yield script
    finally:
        server.close()
        async with asyncio.timeout(5):
            while script.open:
                await asyncio.sleep(0.005)


def sender_to(server: RealServer | ScriptedServer, **options: Any) -> SmtpSender:
    """To a server of the test, in the clear, unless it says otherwise."""
    settings: dict[str, Any] = {"security": "none", "timeout": 5, "data_timeout": 5}
    return SmtpSender("127.0.0.1", "Shop <shop@example.com>", port=server.port, **(settings | options))


class Folder:
    """The least that a processor attaches from."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.read: list[str] = []

    def reading(self, key: str, /) -> Any:
        self.read.append(key)
        return (self._root / self._path(key)).open("rb")

    def size(self, key: str, /) -> int:
        return (self._root / self._path(key)).stat().st_size

    def _path(self, key: str) -> str:
        if ".." in key:
            raise ValueError("it leaves the storage")
        return key


def base64_of(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
