"""Telling people by text message."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from redqueue.errors import Discard, Snooze
from redqueue.processors.sms import (
    NumberRefused,
    ProviderBusy,
    ProviderMisconfigured,
    SmsMessage,
    SmsProvider,
    SmsSession,
)
from redqueue.processors.sms.numbers import BadNumber, check_region, read_number
from redqueue.shapes import LONGEST_MESSAGE, Delivery
from redqueue.tasks.channels import Message, TellingSession, failed, short_key, told

SHORTEST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 3_600.0


class SmsChannel:
    """Sends to numbers in any usual notation; those without a country code are of the region."""

    def __init__(self, provider: SmsProvider, region: str | None) -> None:
        self._provider = provider
        self._region = check_region(region)

    def targets(self, recipients: Sequence[str], /) -> Sequence[str]:
        """Numbers. Two ways of writing one number are one target."""
        numbers: dict[str, str] = {}
        for text in recipients:
            numbers.setdefault(_number(text, self._region) or text, text)
        return list(numbers.values())

    @asynccontextmanager
    async def open(self, targets: Iterable[str], message: Message, /) -> AsyncIterator[TellingSession]:
        """The provider, for one message."""
        if not message.text.strip() or len(message.text) > LONGEST_MESSAGE:
            raise Discard(f"a text message is neither blank nor longer than {LONGEST_MESSAGE:,} characters")
        try:
            async with self._provider.open() as session:
                yield _NumbersSession(session, self._region, message.text)
        except ProviderBusy as busy:
            raise Snooze(min(max(busy.after, SHORTEST_PAUSE), LONGEST_PAUSE), str(busy)) from None
        except ProviderMisconfigured as error:
            raise Discard(str(error)) from None


class _NumbersSession:
    def __init__(self, session: SmsSession, region: str | None, text: str) -> None:
        self._session = session
        self._region = region
        self._text = text

    async def tell(self, to: str, idempotency_key: str, /) -> Delivery:
        """A number that is none, or that the provider refuses, is a failed entry."""
        try:
            number = read_number(to, self._region)
        except BadNumber as error:
            return failed(to, str(error))
        message = SmsMessage(to=number, text=self._text, idempotency_key=short_key(idempotency_key))
        try:
            return told(number, await self._session.send(message))
        except NumberRefused as error:
            return failed(number, str(error))


def _number(text: str, region: str | None) -> str | None:
    try:
        return read_number(text, region)
    except BadNumber:
        return None
