"""What sends texts: the protocol of a provider, and the errors by which one steers the job."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from redqueue.errors import RedQueueError


@dataclass(frozen=True, slots=True)
class SmsMessage:
    """One text to one number.

    Attributes:
        to: the number in E.164, as in "+4915123456789".
        text: what to send; its repr shows neither this nor the metadata.
        idempotency_key: the same in every run of the job, and no other job's, even one of the same id; at most 200
            characters, all printable ASCII.
        campaign_id, sub_account_id, metadata: as the job says.
    """

    to: str
    text: str = field(repr=False)
    idempotency_key: str
    campaign_id: str | None = None
    sub_account_id: str | None = None
    metadata: Mapping[str, Any] | None = field(default=None, repr=False)


class SmsSession(Protocol):
    """An open provider: used by one job, by several of its sends at once."""

    async def send(self, message: SmsMessage, /) -> str | None:
        """Hand one message over; answer the provider's id of it, None when it has none.

        Raises:
            NumberRefused: this number failed, the others go on.
            ProviderBusy: too fast; what is left is sent in a later run.
            ProviderMisconfigured: no run can send until somebody mends the settings.
            Exception: any other is an outage: what is left is sent in the next attempt.
        """
        ...


@runtime_checkable
class SmsProvider(Protocol):
    """Sends texts. It holds settings; whatever has a life is opened for a job, and closed with it."""

    def open(self) -> AbstractAsyncContextManager[SmsSession]:
        """Open what sending needs. It may raise what `SmsSession.send` may, but for `NumberRefused`."""
        ...


class ProviderError(RedQueueError):
    """The root of what providers raise. Its text is shown in the job's status: put nothing secret into it."""


class NumberRefused(ProviderError):
    """This message will never be sent to this number: a failed result, not a failed job. The text says why."""


class ProviderBusy(ProviderError):
    """The provider asks for a pause, and did not take the message. The job snoozes; no attempt is burnt.

    Attributes:
        after: seconds to wait.
    """

    def __init__(self, after: float, reason: str = "the provider is busy") -> None:
        super().__init__(reason)
        self.after = after


class ProviderDown(ProviderError):
    """An outage, or an answer that says nothing. The attempt failed; the message may have been sent or not."""


class ProviderMisconfigured(ProviderError):
    """Credentials, a sender or a URL that the provider doesn't take. The job is discarded; the text says what to do.

    What was sent by then stays checkpointed: retried by hand, the job goes on where it was.
    """
