"""What became of a job's contacts: as it is checkpointed, and as the result says it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from redqueue.defaults import MAX_PAYLOAD
from redqueue.errors import Discard
from redqueue.processors.sms.legible import legible
from redqueue.processors.sms.numbers import LONGEST, Contact
from redqueue.shapes import Delivery, SmsResult

AROUND: Final = 512
"""Bytes of a result, or of a checkpoint, that are no contact's."""

LONGEST_ENTRY: Final = 600
"""Bytes that one contact may take in a result, where all have room for as much."""

_SENT: Final = "s"
_FAILED: Final = "f"
_OF_SENT: Final = len(',{"to":"","messageId":""}') + LONGEST
_OF_FAILED: Final = len(',{"to":"","status":"failed","error":""}')


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint: a line for each place, "s" and the provider's id, "f" and the error, or nothing.

    It is written anew after each chunk, 500 times for 10,000 contacts, so it has to be cheap. One text is a tenth of a
    list's price. The null has the encoder look at the value rather than search 400 KB of bytes for long numbers: 0.4 ms
    instead of 8.

    Attributes:
        region: by which the job's numbers were read. Places mean nothing under another one: a number that can only then
            be read may be the same as a later one that has the message.
    """

    looked_at: None = None
    sms: str
    region: str | msgspec.UnsetType | None = msgspec.UNSET


class Outcomes:
    """By place, what became of the messages of one job. All texts are cut so that the result fits what Redis takes.

    Of 10,000 contacts each has 104 bytes in the result: 63 for a message's id, 49 for an error.

    Args:
        region: by which the numbers are read, in this run and those that follow it.
    """

    def __init__(self, total: int, saved: Sequence[str] = (), *, region: str | None = None) -> None:
        self.region = region
        self._entries = [*saved, *([""] * (total - len(saved)))]
        self._length = len(saved)
        self._share = min(LONGEST_ENTRY, (MAX_PAYLOAD - AROUND) // total)

    @classmethod
    def restored(cls, total: int, state: object, region: str | None = None) -> Outcomes:
        """As an earlier run left it; None: there was none.

        Args:
            region: of a job that has none yet.
        Raises:
            Discard: the checkpoint is none of ours. Sending everything again would be worse than sending nothing.
        """
        if state is None:
            return cls(total, region=region)
        try:
            saved = msgspec.convert(state, Saved)
        except msgspec.ValidationError:
            saved = Saved(sms="?")
        entries = saved.sms.split("\n")
        if len(entries) > total or any(entry[:1] not in ("", _SENT, _FAILED) for entry in entries):
            raise Discard("the job's checkpoint was written by another processor: add its data as a new job")
        return cls(total, entries, region=region if isinstance(saved.region, msgspec.UnsetType) else saved.region)

    def sent(self, place: int, message_id: str | None) -> None:
        """The provider took it."""
        self._note(place, _SENT + clipped(legible(message_id or "", self._share), self._share - _OF_SENT))

    def refused(self, place: int, error: str) -> None:
        """It will never be sent there."""
        why = legible(error, self._share) or "refused"
        self._note(place, _FAILED + clipped(why, self._share - _OF_FAILED - LONGEST))

    def has(self, place: int) -> bool:
        """Whether it is known."""
        return self._entries[place] != ""

    def state(self) -> Saved:
        """What to checkpoint: up to the last place that is known."""
        return Saved(sms="\n".join(self._entries[: self._length]), region=self.region)

    def result(self, contacts: Sequence[Contact], segments: int) -> SmsResult:
        """The job's result, once all that are sent to are known. A repeated number shares its first one's outcome."""
        results = [self._delivery(contact) for contact in contacts]
        successful = sum(delivery.status == "sent" for delivery in results)
        return SmsResult(
            total=len(results),
            successful=successful,
            failed=len(results) - successful,
            duplicates=sum(contact.first != contact.place for contact in contacts),
            segments=segments,
            results=results,
        )

    def _note(self, place: int, entry: str) -> None:
        self._entries[place] = entry
        self._length = max(self._length, place + 1)

    def _delivery(self, contact: Contact) -> Delivery:
        entry = self._entries[contact.first]
        if entry.startswith(_SENT):
            return Delivery(to=clipped(contact.to, LONGEST), message_id=entry[1:] or None)
        to = contact.to if contact.error is None else clipped(contact.to, max(24, self._share - 80))
        error = entry[1:] or contact.error or "not sent"
        return Delivery(to=to, status="failed", error=clipped(error, self._share - _OF_FAILED - _size(to)))


def clipped(text: str, most: int) -> str:
    """The text, cut so that it takes at most so many bytes within JSON. Lone surrogates are written as escapes."""
    text = text[:most].encode("utf-8", "backslashreplace").decode()
    while (over := _size(text) - most) > 0:
        text = text[: -max(1, over // 6)]  # no character takes more than 6 bytes
    return text


def _size(text: str) -> int:
    return len(msgspec.json.encode(text)) - 2
