"""One connection to a mail server: its transactions, and what each reply means."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from redqueue.errors import ConfigurationError, MissingExtra
from redqueue.processors.email.errors import MailError, MailRefused, MailUnavailable
from redqueue.processors.threads import in_thread
from redqueue.registry.names import escaped

try:
    import aiosmtplib
except ImportError as error:
    raise MissingExtra("email", "sending e-mail") from error

QUIT_TIMEOUT: Final = 5.0
"""Seconds that a goodbye may take: by then the message is accepted and noted."""

TOO_MANY_RECIPIENTS: Final = 452
_STORAGE_EXCEEDED: Final = 552
_READY_FOR_DATA: Final = 354
_BEFORE_MAIL: Final = ("connecting", "EHLO", "STARTTLS")


@dataclass(frozen=True, slots=True)
class Route:
    """How a server is reached. The login is in no repr."""

    host: str
    port: int
    security: str
    hello: str
    ca_file: str | None
    timeout: float
    data_timeout: float
    login: tuple[str, str] | None = field(repr=False)

    @property
    def place(self) -> str:
        """For messages."""
        return f"mail server {self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why one recipient was not accepted.

    Attributes:
        code: the server's reply; None: there was none.
        passing: whether it may do later.
    """

    code: int | None
    reason: str
    passing: bool = False


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of recipients: the server has the message for those that it accepted, and none for the others."""

    accepted: Sequence[str]
    refused: Mapping[str, Refusal]


class Session:
    """An open connection, logged in. Used by one task, within `connected`."""

    def __init__(self, route: Route, smtp: aiosmtplib.SMTP) -> None:
        self._route = route
        self._smtp = smtp
        self._begun = False

    @property
    def takes_utf8(self) -> bool:
        """Whether addresses may have any letter before the @ (RFC 6531)."""
        return self._smtp.supports_extension("smtputf8")

    async def deliver(
        self,
        raw: bytes,
        sender: str,
        recipients: Sequence[str],
        note: Callable[[Sent], Awaitable[None]],
        *,
        most: int,
        utf8: bool = False,
    ) -> None:
        """Send to all of them, `most` in one transaction.

        Args:
            raw: as `flatten` makes it.
            note: awaited after each transaction, before the next one begins. A server that accepts some and has too
                many of the others (452, or 552 as RFC 821 had it) is given those in another transaction (RFC 5321,
                4.5.3.1.10).
        Raises:
            MailRefused, MailUnavailable: of this transaction and those that were to follow nobody is known to have
                the message; but a server that hung up after it may have taken it.
        """
        left = deque(recipients)
        while left:
            group = [left.popleft() for _ in range(min(most, len(left)))]
            sent = await self._transact(raw, sender, group, utf8)
            if sent.accepted:
                left.extend(one for one, why in sent.refused.items() if why.code == TOO_MANY_RECIPIENTS)
            await note(sent)

    async def _transact(self, raw: bytes, sender: str, recipients: Sequence[str], utf8: bool) -> Sent:
        options = ["SMTPUTF8", "BODY=8BITMIME"] if utf8 else []
        encoding = "utf-8" if utf8 else "ascii"
        if self._smtp.supports_extension("size"):
            options.append(f"SIZE={len(raw)}")
        accepted: list[str] = []
        refused: dict[str, Refusal] = {}
        with _told(self._route, "MAIL FROM"):
            if self._begun:
                await self._smtp.rset()
            self._begun = True
            await self._smtp.mail(sender, options=options, encoding=encoding)
        with _told(self._route, "RCPT TO"):
            for recipient in recipients:
                try:
                    await self._smtp.rcpt(recipient, encoding=encoding)
                except aiosmtplib.SMTPRecipientRefused as error:
                    if not self._smtp.is_connected:
                        raise  # 421: it says goodbye to all of them
                    said = f"{error.code} {_shown(error.message)}"
                    code = TOO_MANY_RECIPIENTS if accepted and error.code == _STORAGE_EXCEEDED else error.code
                    refused[recipient] = Refusal(code, said, passing=not _is_final(code))
                else:
                    accepted.append(recipient)
        if accepted:
            await self._data(raw)
        return Sent(accepted, refused)

    async def _data(self, raw: bytes) -> None:
        # By hand, as SMTP.data() normalises the message once more, on the event loop: 1.7 s for 25 MB.
        with _told(self._route, "DATA"):
            reply = await self._smtp.execute_command(b"DATA")
            protocol = self._smtp.protocol
            if reply.code != _READY_FOR_DATA or protocol is None:
                raise aiosmtplib.SMTPDataError(reply.code, reply.message)
            protocol.write(raw)
            protocol.write(b".\r\n")
            reply = await protocol.read_response(timeout=self._route.data_timeout)
            if not 200 <= reply.code < 300:  # by the first digit: RFC 5321, 4.3.2
                raise aiosmtplib.SMTPDataError(reply.code, reply.message)


@asynccontextmanager
async def connected(route: Route) -> AsyncIterator[Session]:
    """Connect, encrypt, log in; closed when left, however that is.

    Raises:
        MailRefused: the server has no STARTTLS or login, or refuses the login: mend the settings.
        MailUnavailable: it isn't reached, or its certificate isn't trusted.
    """
    context = None if route.security == "none" else await in_thread(_tls_context, route.ca_file)
    smtp = aiosmtplib.SMTP(
        hostname=route.host,
        port=route.port,
        use_tls=route.security == "tls",
        start_tls=False,  # by hand: required or not, and never "if it is there"
        timeout=route.timeout,
        local_hostname=route.hello,
        tls_context=context,
    )
    try:
        await _connect(route, smtp)
        yield Session(route, smtp)
        with suppress(aiosmtplib.SMTPException, OSError):
            await smtp.quit(timeout=min(QUIT_TIMEOUT, route.timeout))
    finally:
        transport = smtp.transport
        smtp.close()
        if isinstance(transport, asyncio.WriteTransport):
            transport.abort()  # close() would wait for the server's end of TLS


async def _connect(route: Route, smtp: aiosmtplib.SMTP) -> None:
    with _told(route, "connecting"):
        await smtp.connect()
    with _told(route, "EHLO"):
        await _greet(smtp)
    if route.security == "starttls":
        if not smtp.supports_extension("starttls"):
            raise MailRefused(f"{route.place} offers no STARTTLS: use its port for that, or security='tls'")
        with _told(route, "STARTTLS"):
            await smtp.starttls()
            await _greet(smtp)
    if route.login is not None:
        if not smtp.supported_auth_methods:
            raise MailRefused(f"{route.place} offers no login that is known here: leave username and password out")
        with _told(route, "AUTH", secret=True):
            await smtp.login(*route.login)


async def _greet(smtp: aiosmtplib.SMTP) -> None:
    try:
        await smtp.ehlo()
    except aiosmtplib.SMTPHeloError as error:
        if error.code < 500 or not smtp.is_connected:
            raise
        await smtp.helo()


@lru_cache(maxsize=8)
def _tls_context(ca_file: str | None) -> ssl.SSLContext:
    """Kept, as reading the system's certificates takes longer than many a mail."""
    context = ssl.create_default_context()
    if ca_file is not None:
        try:
            context.load_verify_locations(ca_file)
        except OSError as error:
            why = error.strerror or "no certificates in PEM"
            raise ConfigurationError(f"the certificates in {ca_file!r} can't be read: {why}") from None
    return context


@contextmanager
def _told(route: Route, step: str, *, secret: bool = False) -> Iterator[None]:
    """Raise what aiosmtplib raises as ours. Without its text, and without a cause, where that may show a password."""
    try:
        yield
    except aiosmtplib.SMTPResponseException as error:
        raise _by_code(route, step, error.code, "" if secret else _shown(error.message)) from None
    except (aiosmtplib.SMTPException, OSError) as error:
        raise MailUnavailable(f"{route.place}: {step}: {_reason(error)}") from None


def _by_code(route: Route, step: str, code: int, text: str) -> MailError:
    said = f"{route.place}: {step}: {code} {text}".rstrip()
    if not _is_final(code):
        return MailUnavailable(said, code if code > 0 else None)
    if step in _BEFORE_MAIL:  # as servers say while they are mended: it has nothing to do with the message
        return MailUnavailable(said, code)
    if step == "AUTH":
        said = f"{route.place} refused the login ({code}): check username and password"
    return MailRefused(said, code)


def _is_final(code: int) -> bool:
    return 500 <= code < 600


def _reason(error: Exception) -> str:
    inner = error.__cause__ or error
    if isinstance(inner, ssl.SSLCertVerificationError):
        return f"its certificate isn't trusted: {_shown(inner.verify_message)}"
    if isinstance(inner, ssl.SSLError):
        return f"no TLS: {_shown(inner.reason or type(inner).__name__)}"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, aiosmtplib.SMTPServerDisconnected):
        return "it hung up"
    if isinstance(inner, OSError) and inner.strerror:
        return f"can't be reached: {_shown(inner.strerror)}"
    return "it hung up" if isinstance(inner, aiosmtplib.SMTPServerDisconnected) else type(inner).__name__


def _shown(text: str) -> str:
    return escaped(" ".join(text.split()), 200)
