"""One HTTP request at a time, with bounds.

Nothing of it is logged. httpx's client logs URLs, which may hold secrets and numbers, so only its transport is used.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from ssl import SSLContext
from typing import Any, Final

import msgspec

from redqueue.errors import InvalidOption, MissingExtra
from redqueue.processors.sms.legible import legible
from redqueue.processors.sms.provider import ProviderDown, ProviderMisconfigured
from redqueue.units import shown

try:
    import httpx
except ImportError as error:
    raise MissingExtra("sms", "sending through an HTTP API") from error

LARGEST_ANSWER: Final = 65_536
LONGEST_TIMEOUT: Final = 600
TIMEOUT: Final = 10.0
PAUSE: Final = 5.0
"""Seconds to wait when a provider says 429 and not for how long."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said.

    Attributes:
        body: empty when it was longer than 64 KiB, or broke off: by then the status had said what became of it.
    """

    status: int
    headers: httpx.Headers = field(repr=False)
    body: bytes = field(repr=False)

    def read(self) -> Any:
        """The body as JSON; None when it is none, or too deep to be read."""
        try:
            return msgspec.json.decode(self.body)
        except (ValueError, RecursionError):
            return None

    @property
    def pause(self) -> float:
        """Seconds that Retry-After asks for: a number, or a date (RFC 9110, 10.2.3)."""
        said = self.headers.get("retry-after", "").strip()
        if said.isascii() and said.isdigit():
            return float(said[:9])
        try:
            return max((parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds(), 1.0)
        except (TypeError, ValueError, OverflowError):
            return PAUSE


class Wire:
    """The connections of one job to one server. No redirects, cookies or proxies; certificates are checked."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._transport = httpx.AsyncHTTPTransport(
            verify=_certificates(),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=4.0),
        )

    async def ask(self, request: httpx.Request) -> Answer:
        """Send it, and read the answer.

        Raises:
            ProviderDown: not reached, or no status in time. Its text shows nothing of the URL but the host.
            ProviderMisconfigured: HTTP has no such request, so no other run can send it either.
        """
        request.headers.setdefault("Accept", "application/json")
        request.headers["Accept-Encoding"] = "identity"
        request.headers.setdefault("User-Agent", "redqueue")
        failed: str
        try:
            async with asyncio.timeout(self._timeout):
                response = await self._transport.handle_async_request(request)
        except TimeoutError:
            failed = f"no answer within {self._timeout:g} s"
        except httpx.ConnectError as error:
            failed = f"not connected: {legible(str(error))}"
        except (httpx.LocalProtocolError, httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise ProviderMisconfigured(
                f"{request.url.host}: not a request that HTTP has ({type(error).__name__}): check URL and headers"
            ) from None  # its text may quote a header
        except (httpx.HTTPError, OSError) as error:  # likewise
            failed = type(error).__name__
        else:
            return Answer(response.status_code, response.headers, await self._body(response))
        raise ProviderDown(f"{request.url.host}: {failed}")

    async def close(self) -> None:
        """Drop the connections."""
        await self._transport.aclose()

    async def _body(self, response: httpx.Response) -> bytes:
        body = b""
        try:
            async with asyncio.timeout(self._timeout):
                async for piece in response.aiter_raw():
                    body += piece
                    if len(body) > LARGEST_ANSWER:
                        return b""
        except (httpx.HTTPError, TimeoutError, OSError):
            return b""
        finally:
            await response.aclose()
        return body


@asynccontextmanager
async def open_wire(timeout: float) -> AsyncIterator[Wire]:
    """For one job."""
    wire = Wire(timeout)
    try:
        yield wire
    finally:
        await wire.close()


def checked_timeout(timeout: object) -> float:
    """Seconds for one request.

    Raises:
        InvalidOption: it isn't more than 0 and at most 600.
    """
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout <= LONGEST_TIMEOUT:
        raise InvalidOption("timeout", f"timeout must be up to {LONGEST_TIMEOUT} seconds, not {shown(timeout)}")
    return float(timeout)


def checked_url(option: str, url: str) -> httpx.URL:
    """A URL of a server.

    Raises:
        InvalidOption: it isn't http or https with a host. The text doesn't show it: it may hold a secret.
    """
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, TypeError):
        parsed = httpx.URL("")
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise InvalidOption(option, f"{option} must be a URL that begins with https://, or http://, and names a host")
    if parsed.userinfo:
        raise InvalidOption(option, f"{option} must not hold a user or password: give them as a header")
    return parsed


@cache
def _certificates() -> SSLContext:
    # Once a process: reading them takes 20 ms of the event loop.
    return httpx.create_ssl_context()
