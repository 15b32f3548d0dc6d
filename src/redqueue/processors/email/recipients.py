"""A job's recipients: how each is read, and what became of it over all runs of the job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from redqueue.errors import Discard
from redqueue.processors.email.addresses import Mailbox, parse_address
from redqueue.processors.email.errors import BadAddress, UnsafeText
from redqueue.processors.email.session import Refusal, Sent
from redqueue.registry.names import escaped
from redqueue.shapes import Delivery, EmailJobData, EmailResult

SHOWN: Final = 120
"""Characters of a bad address in a result."""


class Settled(msgspec.Struct, frozen=True):
    """The checkpoint: recipients by their place among to, cc and bcc, so it is small and holds no address."""

    accepted: list[int] = []
    refused: list[tuple[int, str]] = []


@dataclass(slots=True)
class Recipient:
    """One entry of the job.

    Attributes:
        mailbox: None: the text is no address.
        error: why it gets nothing; None: it isn't known yet, or was accepted.
        put_off: why the server asked to come back later.
    """

    text: str
    mailbox: Mailbox | None
    accepted: bool = False
    error: str | None = None
    put_off: str | None = None

    @property
    def is_pending(self) -> bool:
        """Whether it is to be sent to."""
        return not self.accepted and self.error is None

    def note(self, refusal: Refusal | None) -> None:
        """What a transaction came to; None: the server accepted it."""
        if refusal is None:
            self.accepted = True
        elif refusal.passing:
            self.put_off = refusal.reason
        else:
            self.error = refusal.reason

    def delivery(self) -> Delivery:
        """For the result."""
        to = escaped(self.text, SHOWN) if self.mailbox is None else self.mailbox.spec
        if self.accepted:
            return Delivery(to=to)
        return Delivery(to=to, status="failed", error=self.error or self.put_off or "not sent")


class Recipients:
    """Those of one job, in its order: to, cc, bcc. One that is named twice gets one message.

    Args:
        restored: the checkpoint of an earlier run.
    Raises:
        Discard: an address could forge a header, or the one for answers is none.
    """

    def __init__(self, data: EmailJobData, restored: object = None) -> None:
        to = [data.to] if isinstance(data.to, str) else data.to
        self._to, self._cc = _read("to", to), _read("cc", data.cc)
        self._all = [*self._to, *self._cc, *_read("bcc", data.bcc)]
        self.reply_to = None if data.reply_to is None else _reply_to(data.reply_to)
        if restored is not None:
            self._restore(msgspec.convert(restored, Settled))

    @property
    def to(self) -> list[Mailbox]:
        """For the header: those that are addresses."""
        return _mailboxes(self._to)

    @property
    def cc(self) -> list[Mailbox]:
        """For the header."""
        return _mailboxes(self._cc)

    @property
    def total(self) -> int:
        """How many the job names."""
        return len(self._all)

    @property
    def pending(self) -> list[Mailbox]:
        """Whom to send to, each once."""
        return [*{one.spec: one for one in _mailboxes([one for one in self._all if one.is_pending])}.values()]

    @property
    def put_off(self) -> list[str]:
        """Why some of them are still pending, though the server was asked."""
        return [one.put_off for one in self._all if one.is_pending and one.put_off is not None]

    @property
    def any_accepted(self) -> bool:
        """Whether the server has the message for somebody, from this run or an earlier one."""
        return any(one.accepted for one in self._all)

    def note(self, sent: Sent) -> None:
        """What one transaction came to."""
        outcomes = {**dict.fromkeys(sent.accepted), **sent.refused}
        for one in self._all:
            if one.mailbox is not None and one.mailbox.spec in outcomes:
                one.note(outcomes[one.mailbox.spec])

    def refuse_utf8(self, refusal: Refusal) -> None:
        """The server takes only ASCII: the others get nothing, and stand in no header."""
        for one in self._all:
            if one.mailbox is not None and one.mailbox.needs_utf8 and one.is_pending:
                one.note(refusal)
        self._to = [one for one in self._to if one.mailbox is None or not one.mailbox.needs_utf8]
        self._cc = [one for one in self._cc if one.mailbox is None or not one.mailbox.needs_utf8]

    def settled(self) -> Settled:
        """For a checkpoint."""
        asked = [(place, one) for place, one in enumerate(self._all) if one.mailbox is not None]
        refused = [(place, one.error) for place, one in asked if one.error is not None]
        return Settled([place for place, one in asked if one.accepted], refused)

    def result(self, message_id: str) -> EmailResult:
        """Of the job."""
        results = [one.delivery() for one in self._all]
        successful = sum(one.accepted for one in self._all)
        return EmailResult(
            total=self.total,
            successful=successful,
            failed=self.total - successful,
            results=results,
            message_id=message_id,
        )

    def _restore(self, settled: Settled) -> None:
        for place in settled.accepted:
            self._all[place].accepted = True
        for place, error in settled.refused:
            self._all[place].error = error


def _read(field: str, texts: list[str]) -> list[Recipient]:
    return [_recipient(f"{field}[{place}]", text) for place, text in enumerate(texts)]


def _recipient(place: str, text: str) -> Recipient:
    try:
        return Recipient(text, parse_address(text))
    except BadAddress as error:
        return Recipient(text, None, error=str(error))
    except UnsafeText as error:
        raise Discard(f"{place}: {error}") from None


def _reply_to(text: str) -> Mailbox:
    try:
        return parse_address(text)
    except (BadAddress, UnsafeText) as error:
        raise Discard(f"replyTo: {error}") from None


def _mailboxes(recipients: list[Recipient]) -> list[Mailbox]:
    return [one.mailbox for one in recipients if one.mailbox is not None]
