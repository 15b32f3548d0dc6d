"""One text to many numbers."""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final

from redqueue.context import JobContext
from redqueue.errors import Discard, InvalidOption, Snooze
from redqueue.processors.base import BaseProcessor
from redqueue.processors.sms.numbers import Contact, check_region, read_contacts
from redqueue.processors.sms.outcomes import Outcomes
from redqueue.processors.sms.pace import Pace
from redqueue.processors.sms.provider import ProviderBusy, ProviderMisconfigured, SmsMessage, SmsProvider, SmsSession
from redqueue.processors.sms.segments import count_segments
from redqueue.processors.sms.sending import Chunk
from redqueue.shapes import SmsJobData, SmsResult
from redqueue.units import shown

CONCURRENCY: Final = 20
MOST_CONCURRENCY: Final = 1_000
FASTEST: Final = 100_000
SHORTEST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 3_600.0
"""Seconds that a provider can ask for at once; then it is asked again."""

SAVES_WITHIN: Final = 1.0
"""Seconds in which a run that leaves waits for its last checkpoint. It is on its way in any case."""

CHUNK_SECONDS: Final = 2.0
"""With a rate, a chunk is what so many seconds let through: a slow sender has little at risk."""


class SmsProcessor(BaseProcessor[SmsJobData, SmsResult]):
    """Sends a job's message to each of its numbers, a chunk at a time, with a checkpoint after each.

    A number that is none, or that the provider refuses, is a failed entry of the result; the job completes, even
    when all failed. The provider's outage is a failed attempt, and its 429 a `Snooze`: the next run goes on where
    this one was. A worker that is killed had at most one chunk at risk: those messages may be sent twice, each
    time with the same idempotency key.

    Args:
        provider: an object with `open`, see `SmsProvider`.
        rate: messages a second, of all jobs on one event loop together: of a worker, or of a child process; None: as
            fast as the provider answers.
        concurrency: messages under way at once in one job, 1 to 1,000; the longest chunk.
        default_region: the country of numbers without a country code, as in "DE"; None: such numbers fail. The one at
            a job's first checkpoint counts for all its runs.
    Raises:
        InvalidOption: one of them is out of its bounds.
    """

    def __init__(
        self,
        provider: SmsProvider,
        *,
        rate: float | None = None,
        concurrency: int = CONCURRENCY,
        default_region: str | None = None,
    ) -> None:
        if not isinstance(provider, SmsProvider):
            raise InvalidOption("provider", f"provider must be an SmsProvider, not {type(provider).__name__}")
        self._provider = provider
        self._pace = Pace(_checked_rate(rate))
        self._chunk = _checked_concurrency(concurrency)
        if rate is not None:
            self._chunk = min(self._chunk, max(1, math.ceil(rate * CHUNK_SECONDS)))
        self._region = check_region(default_region)

    def validate(self, data: SmsJobData, /) -> None:
        """Refuse a message that nobody could read or send."""
        if not data.message.strip():
            raise Discard("the message is blank")
        try:
            data.message.encode()
        except UnicodeEncodeError:
            raise Discard("the message has half of a surrogate pair, which is no character") from None

    async def process(self, data: SmsJobData, context: JobContext, /) -> SmsResult:
        """Send what no earlier run has sent."""
        outcomes = Outcomes.restored(len(data.phone_numbers), context.restored, self._region)
        contacts = await read_contacts(data.phone_numbers, outcomes.region)
        pending = [contact for contact in contacts if contact.is_sent_to and not outcomes.has(contact.place)]
        if pending:
            try:
                async with self._provider.open() as session:
                    await self._send_all(_Campaign(data, context, outcomes, len(contacts)), session, pending)
            except ProviderBusy as busy:
                raise Snooze(min(max(busy.after, SHORTEST_PAUSE), LONGEST_PAUSE), str(busy)) from None
            except ProviderMisconfigured as error:
                raise Discard(str(error)) from None
        return outcomes.result(contacts, count_segments(data.message))

    async def _send_all(self, campaign: _Campaign, session: SmsSession, pending: Sequence[Contact]) -> None:
        left = len(pending)
        for contacts in _chunks(pending, self._chunk):
            try:
                await Chunk(session, self._pace, campaign.outcomes).send(campaign.messages(contacts))
            except asyncio.CancelledError:
                with suppress(Exception, asyncio.CancelledError):
                    async with asyncio.timeout(SAVES_WITHIN):
                        await campaign.save()
                raise
            except Exception:
                await campaign.save()
                raise
            left -= len(contacts)
            campaign.tell(left)
            await campaign.save()


class _Campaign:
    """One run's job, as its messages are made and its state is kept."""

    def __init__(self, data: SmsJobData, context: JobContext, outcomes: Outcomes, total: int) -> None:
        self.outcomes = outcomes
        self._data = data
        self._context = context
        self._total = total
        self._key = _key_of(context)

    def messages(self, contacts: Sequence[Contact]) -> dict[int, SmsMessage]:
        """By place. The key names the place, which is the same in every run."""
        data = self._data
        return {
            contact.place: SmsMessage(
                to=contact.to,
                text=data.message,
                idempotency_key=f"{self._key}:{contact.place}",
                campaign_id=data.campaign_id,
                sub_account_id=data.sub_account_id,
                metadata=data.metadata,
            )
            for contact in contacts
        }

    async def save(self) -> None:
        """Return when Redis has what is known."""
        await self._context.checkpoint(self.outcomes.state())

    def tell(self, left: int) -> None:
        """Of all entries; bad and repeated ones are done from the start."""
        done = self._total - left
        self._context.progress(done / self._total, f"{done} of {self._total}")


def _key_of(context: JobContext) -> str:
    # With the time of the add: an id may be used again for another job, and its message must not be taken for this one.
    job = f"{context.idempotency_key} {context.created_at.isoformat()}"
    return hashlib.sha256(job.encode()).hexdigest()[:32]


def _chunks(contacts: Sequence[Contact], size: int) -> Iterator[Sequence[Contact]]:
    for start in range(0, len(contacts), size):
        yield contacts[start : start + size]


def _checked_rate(rate: object) -> float | None:
    if rate is None:
        return None
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate <= FASTEST:
        raise InvalidOption("rate", f"rate must be messages a second, up to {FASTEST:,}, or None, not {shown(rate)}")
    return float(rate)


def _checked_concurrency(concurrency: object) -> int:
    if type(concurrency) is not int or not 1 <= concurrency <= MOST_CONCURRENCY:
        raise InvalidOption("concurrency", f"concurrency must be 1 to {MOST_CONCURRENCY:,}, not {shown(concurrency)}")
    return concurrency
