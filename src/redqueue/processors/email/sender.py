"""Where mail is handed over: one server, how it is reached, and as whom."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Final, Literal, Self, TypeAlias, cast, get_args
from urllib.parse import unquote, urlsplit

from redqueue.errors import ConfigurationError, Seconds
from redqueue.processors.email.addresses import Mailbox, parse_address
from redqueue.processors.email.errors import BadAddress, MailError, MailUnavailable, UnsafeText
from redqueue.processors.email.message import flatten
from redqueue.processors.email.session import Refusal, Route, Sent, Session, connected
from redqueue.processors.threads import in_thread
from redqueue.units import to_ms

Security: TypeAlias = Literal["starttls", "tls", "none"]

PORTS: Final[Mapping[Security, int]] = {"starttls": 587, "tls": 465, "none": 25}

NEEDS_UTF8: Final = Refusal(None, "the server takes only ASCII before the @")

_HOST: Final = re.compile(r"[^\s\x00-\x1f/@]{1,255}")
_PORT: Final = re.compile(r"[0-9]{1,5}")
_SCHEMES: Final[Mapping[str, Security]] = {"smtp": "starttls", "smtps": "tls"}


class SmtpSender:
    """One mail server, and the address that mail is from. It holds settings, no connection: one is opened when needed.

    It can be used without a job, from any event loop. Its repr, and what it raises, show no password.

    Args:
        host: its name; the certificate must be for it.
        sender: "shop@example.com" or "Shop <shop@example.com>": From, and where bounces go.
        security: "starttls", which is then required; "tls", encrypted from the start; "none", in the clear.
        port: None: 587, 465 or 25, by `security`.
        username, password: both or none.
        insecure_login: log in though `security` is "none": everybody on the way can read the password.
        ca_file: certificates in PEM that are trusted besides the system's.
        timeout: seconds for connecting, and for each answer.
        data_timeout: seconds for sending the message itself and the answer to it, which may take ten minutes by RFC
            5321, 4.5.3.2.6. Who gives up early sends the message twice, so give a slow line more for large files.
        most: recipients in one transaction; a server must take 100 (RFC 5321, 4.5.3.1.8).
        hello: what this machine calls itself; None: by the sender's domain.
    Raises:
        ConfigurationError: settings that can't work, or would show the password.
    """

    def __init__(
        self,
        host: str,
        sender: str,
        *,
        security: Security = "starttls",
        port: int | None = None,
        username: str | None = None,
        password: str | None = None,
        insecure_login: bool = False,
        ca_file: str | None = None,
        timeout: Seconds = 60,
        data_timeout: Seconds = 600,
        most: int = 100,
        hello: str | None = None,
    ) -> None:
        if security not in get_args(Security):
            raise ConfigurationError(f"security={security!r} is none of {', '.join(get_args(Security))}")
        if (username is None) != (password is None):
            raise ConfigurationError("give username and password, or none of them")
        if username is not None and security == "none" and not insecure_login:
            raise ConfigurationError(
                "security='none' would show the password to everybody on the way: use 'starttls' or 'tls', or say "
                "insecure_login=True for a server on this machine"
            )
        if most < 1:
            raise ConfigurationError(f"most={most!r}: at least one recipient in a transaction")
        self.sender = _own_address(sender)
        self._most = most
        self._route = Route(
            host=_checked("host", host),
            port=_checked_port(PORTS[security] if port is None else port),
            security=security,
            hello=self.sender.domain if hello is None else _checked("hello", hello),
            ca_file=ca_file,
            timeout=to_ms("timeout", timeout) / 1000,
            data_timeout=to_ms("data_timeout", data_timeout) / 1000,
            login=None if username is None or password is None else (username, password),
        )

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """By SMTP_HOST, SMTP_PORT, SMTP_USERNAME, SMTP_PASSWORD, SMTP_SECURITY, SMTP_FROM and SMTP_CA_FILE.

        Or by SMTP_URL instead of the first five: ``smtp://user:password@host:port`` with STARTTLS, ``smtps://...`` with
        TLS from the start; a user or password is percent-encoded. SMTP_INSECURE_LOGIN=1 is `insecure_login`.

        Raises:
            ConfigurationError: a variable is missing, or can't work.
        """
        given = {name: value for name, value in (os.environ if environ is None else environ).items() if value}
        if "SMTP_FROM" not in given:
            raise ConfigurationError("SMTP_FROM is not set: it says whom mail is from, as in Shop <shop@example.com>")
        server = _server_of_url(given["SMTP_URL"]) if "SMTP_URL" in given else _server_of_parts(given)
        return cls(
            server.host,
            given["SMTP_FROM"],
            security=server.security,
            port=server.port,
            username=server.username,
            password=server.password,
            insecure_login=given.get("SMTP_INSECURE_LOGIN") == "1",
            ca_file=given.get("SMTP_CA_FILE"),
        )

    def __repr__(self) -> str:
        route = self._route
        return f"SmtpSender({route.host!r}, {str(self.sender)!r}, security={route.security!r}, port={route.port})"

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Session]:
        """A connection, logged in; closed when left.

        Raises:
            MailRefused, MailUnavailable: there is none.
        """
        async with connected(self._route) as session:
            yield session

    async def deliver(
        self,
        session: Session,
        raw: bytes,
        recipients: Sequence[str],
        note: Callable[[Sent], Awaitable[None]],
        *,
        utf8: bool = False,
    ) -> None:
        """`Session.deliver`, from this sender and in transactions of its size."""
        await session.deliver(raw, self.sender.spec, recipients, note, most=self._most, utf8=utf8)

    async def send(self, message: EmailMessage, recipients: Sequence[str]) -> Sent:
        """Connect, send one message, and disconnect. `compose` makes one; a Bcc header is left out.

        Args:
            recipients: addresses, with or without names: who gets it, whatever its headers say.
        Returns:
            Whom the server accepted it for, and why not for the others; also after a connection that broke when it
            had been accepted for some.
        Raises:
            MailRefused, MailUnavailable: nobody is known to have it.
            UnsafeText: an address or a header could forge another one, or a header needs SMTPUTF8 as no recipient does.
        """
        mailboxes, refused = _readable(recipients)
        accepted: list[str] = []

        async def note(sent: Sent) -> None:
            accepted.extend(sent.accepted)
            refused.update(sent.refused)
            for one in sent.accepted:
                refused.pop(one, None)

        try:
            if mailboxes:
                async with self.connected() as session:
                    await self._send_to(session, message, mailboxes, refused, note)
        except MailError as error:
            if not accepted:
                raise
            left = [one.spec for one in mailboxes if one.spec not in accepted and one.spec not in refused]
            refusal = Refusal(error.code, str(error), passing=isinstance(error, MailUnavailable))
            refused.update(dict.fromkeys(left, refusal))
        return Sent(accepted, refused)

    async def _send_to(
        self,
        session: Session,
        message: EmailMessage,
        mailboxes: Sequence[Mailbox],
        refused: dict[str, Refusal],
        note: Callable[[Sent], Awaitable[None]],
    ) -> None:
        able = [one for one in mailboxes if session.takes_utf8 or not one.needs_utf8]
        refused.update((one.spec, NEEDS_UTF8) for one in mailboxes if one not in able)
        if not able:
            return
        utf8 = any(one.needs_utf8 for one in able)
        seen = copy(message)
        del seen["Bcc"]
        raw = await in_thread(flatten, seen, utf8=utf8)
        await self.deliver(session, raw, [one.spec for one in able], note, utf8=utf8)


@dataclass(frozen=True, slots=True)
class _Server:
    host: str
    port: int | None
    security: Security
    username: str | None
    password: str | None = field(repr=False)


def _server_of_url(url: str) -> _Server:
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme, parts.hostname, parts.port
    except ValueError:
        scheme, host, port, parts = "", None, None, urlsplit("")
    if scheme not in _SCHEMES or not host or parts.path.strip("/") or parts.query or parts.fragment:
        raise ConfigurationError("SMTP_URL must be smtp://user:password@host:port or smtps://..., percent-encoded")
    username, password = (None if part is None else unquote(part) for part in (parts.username, parts.password))
    return _Server(host, port, _SCHEMES[scheme], username, password)


def _server_of_parts(given: Mapping[str, str]) -> _Server:
    if "SMTP_HOST" not in given:
        raise ConfigurationError("SMTP_HOST is not set: it names the mail server; or set SMTP_URL")
    port = given.get("SMTP_PORT")
    if port is not None and not _PORT.fullmatch(port):
        raise ConfigurationError(f"SMTP_PORT={port!r} is no port: give a number from 1 to 65535")
    return _Server(
        given["SMTP_HOST"],
        None if port is None else int(port),
        cast("Security", given.get("SMTP_SECURITY", "starttls")),  # checked by SmtpSender
        given.get("SMTP_USERNAME"),
        given.get("SMTP_PASSWORD"),
    )


def _readable(recipients: Sequence[str]) -> tuple[list[Mailbox], dict[str, Refusal]]:
    mailboxes: dict[str, Mailbox] = {}
    refused = {}
    for text in recipients:
        try:
            mailbox = parse_address(text)
        except BadAddress as error:
            refused[text] = Refusal(None, str(error))
        else:
            mailboxes[mailbox.spec] = mailbox
    return [*mailboxes.values()], refused


def _own_address(text: str) -> Mailbox:
    try:
        mailbox = parse_address(text)
    except (BadAddress, UnsafeText) as error:
        raise ConfigurationError(f"the sender {text!r} can't be used: {error}") from None
    if mailbox.needs_utf8:
        raise ConfigurationError(
            f"the sender {text!r} can't be used: only ASCII before the @, so that anyone can reply"
        )
    return mailbox


def _checked(name: str, host: str) -> str:
    if not _HOST.fullmatch(host) or not host.isascii():
        raise ConfigurationError(f"{name}={host!r} is no name of a machine: give it without scheme, port or spaces")
    return host


def _checked_port(port: int) -> int:
    if not 1 <= port <= 65535:
        raise ConfigurationError(f"port={port!r}: give a number from 1 to 65535")
    return port
