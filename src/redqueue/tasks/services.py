"""Telling people by any service that Apprise knows. Its URLs hold tokens, so they are shown nowhere."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Final
from urllib.parse import quote

from redqueue.errors import ConfigurationError, MissingExtra
from redqueue.processors.threads import in_thread
from redqueue.shapes import Delivery
from redqueue.tasks.channels import Message, NotNow, TellingSession, failed, once_each, text_in, told

try:
    import apprise
except ImportError as error:
    raise MissingExtra("notify", "notifying by Apprise") from error

with warnings.catch_warnings(action="ignore"):
    # It imports its services at the first URL, some of them with modules that Python deprecates: where warnings are
    # errors, it would know none.
    apprise.Apprise.instantiate("json://localhost")

PLACEHOLDER: Final = "{to}"
_RECIPIENT: Final = re.compile(r"[A-Za-z0-9@#+][A-Za-z0-9@#+._:-]{0,127}")
"""What can't be read as anything but one recipient, in the URL of whatever service."""

_SILENT: Final[ContextVar[bool]] = ContextVar("redqueue_silent", default=False)
_TALKERS: Final = ("apprise", "urllib3.connectionpool", "urllib3.util.retry")


class ServiceChannel:
    """The services of one kind: each is told once, or each recipient by the one service with ``{to}`` in its URL.

    Raises:
        ConfigurationError: Apprise can't read a URL, or one of several has a place for the recipient.
    """

    def __init__(self, kind: str, urls: Sequence[str]) -> None:
        self._kind = kind
        self._urls = tuple(urls)
        self._by_recipient = any(PLACEHOLDER in url for url in self._urls)
        if not self._urls or (self._by_recipient and len(self._urls) > 1):
            raise ConfigurationError(f"services[{kind!r}]: give at least one URL, and one alone where it has {{to}}")
        for number, url in enumerate(self._urls, 1):
            if _opened(url.replace(PLACEHOLDER, "recipient")) is None:
                raise ConfigurationError(f"services[{kind!r}]: Apprise can't read URL {number} of {len(self._urls)}")

    def __repr__(self) -> str:
        return f"ServiceChannel({self._kind!r}, {len(self._urls)} URLs)"

    def targets(self, recipients: Sequence[str], /) -> Sequence[str]:
        """The recipients where the URL has a place for them, else the services themselves, by number."""
        if self._by_recipient:
            return once_each(recipients)
        if len(self._urls) == 1:
            return [self._kind]
        return [f"{self._kind} {number}" for number in range(1, len(self._urls) + 1)]

    @asynccontextmanager
    async def open(self, targets: Iterable[str], message: Message, /) -> AsyncIterator[TellingSession]:
        """Nothing to open: Apprise connects for each message."""
        title = text_in(message.context, "subject", 998) or ""
        if self._by_recipient:
            (url,) = self._urls
            urls = {to: _for_recipient(url, to) for to in targets}
        else:
            urls = dict(zip(self.targets(()), self._urls, strict=True))
        yield _ServiceSession(urls, title, message.text)


class _ServiceSession:
    def __init__(self, urls: Mapping[str, str | None], title: str, text: str) -> None:
        self._urls = urls
        self._title = title
        self._text = text

    async def tell(self, to: str, idempotency_key: str, /) -> Delivery:
        """Apprise doesn't say why it failed, so every failure may pass."""
        url = self._urls[to]
        if url is None:
            return failed(to, "no recipient for this service: letters, digits and @ # + . _ : - only")
        if not await in_thread(_notified, url, self._title, self._text):
            raise NotNow("the service did not take it")
        return told(to)


def _for_recipient(url: str, to: str) -> str | None:
    if not _RECIPIENT.fullmatch(to):
        return None
    return url.replace(PLACEHOLDER, quote(to, safe=""))


def _notified(url: str, title: str, text: str) -> bool:
    with _silently():
        try:
            service = apprise.Apprise()
            if (opened := _opened(url)) is None or not service.add(opened):  # not the text: it could be a list of URLs
                return False
            return bool(service.notify(body=text, title=title, body_format=apprise.NotifyFormat.TEXT))
        except Exception:  # its text may have the URL
            return False


def _opened(url: str) -> apprise.NotifyBase | None:
    with _silently():
        try:
            return apprise.Apprise.instantiate(url)
        except Exception:  # likewise
            return None


class _Silence(logging.Filter):
    """Drops what these loggers say while a message of ours is sent: URLs, bodies and answers. Others are untouched."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not _SILENT.get()


_SILENCE: Final = _Silence()


@contextmanager
def _silently() -> Iterator[None]:
    for name in _TALKERS:
        logging.getLogger(name).addFilter(_SILENCE)  # again: does nothing
    token = _SILENT.set(True)
    try:
        yield
    finally:
        _SILENT.reset(token)
