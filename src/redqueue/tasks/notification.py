"""send_notification: a message to some recipients, each told once however often the job is run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from redqueue.context import INJECTED, JobContext
from redqueue.errors import Discard
from redqueue.processors.notifying import Notifies
from redqueue.shapes import Address, Delivery
from redqueue.tasks.channels import Message, NotNow
from redqueue.tasks.notifier import NotificationResult, channel_of, result_of, tell_each

LONGEST: Final = 10_000
"""Characters of a message."""


class Told(msgspec.Struct, frozen=True):
    """The checkpoint: what became of targets. By their text, as a changed setting may move their places."""

    targets: dict[str, Delivery]


class SendNotification:
    """``send_notification(type, recipients, message)``, by the kinds of one notifier."""

    def __init__(self, notifier: Notifies) -> None:
        self._notifier = notifier

    async def __call__(
        self,
        type: Annotated[str, Meta(min_length=1, max_length=64)],
        recipients: Annotated[list[Address], Meta(min_length=1, max_length=100)],
        message: Annotated[str, Meta(min_length=1, max_length=LONGEST)],
        context: JobContext = INJECTED,
    ) -> NotificationResult:
        """Tell each recipient, with a checkpoint after each, so that no later run tells them again.

        Args:
            type: one of the notifier's kinds.
            context: the job's mapping may have `subject`, `template` and `template_data`.
        Raises:
            Discard: there is no such kind, or the message will never do.
            NotNow: some could not be told. In the last attempt they are failed entries when others were told.
        """
        channel = channel_of(self._notifier, type)
        targets = channel.targets(recipients)
        outcomes = _restored(context.restored, targets)

        async def note(place: int, outcome: Delivery | NotNow) -> None:
            outcomes[place] = outcome
            if isinstance(outcome, Delivery):
                await context.checkpoint(Told({targets[at]: one for at, one in _deliveries(outcomes).items()}))
            context.progress(len(outcomes) / len(targets), f"{len(outcomes)} of {len(targets)}")

        pending = {place: to for place, to in enumerate(targets) if place not in outcomes}
        if pending:
            await tell_each(channel, pending, Message(message, context.given), _key_of(context), note)
        _raise_put_off(outcomes, context)
        return result_of(type, targets, outcomes)


def _raise_put_off(outcomes: Mapping[int, Delivery | NotNow], context: JobContext) -> None:
    put_off = [outcome for outcome in outcomes.values() if isinstance(outcome, NotNow)]
    any_told = any(one.status == "sent" for one in _deliveries(outcomes).values())
    if put_off and not (any_told and context.attempt > context.retries):
        raise NotNow(f"{len(put_off)} of {len(outcomes)} could not be told: {put_off[0]}") from put_off[0].__cause__


def _deliveries(outcomes: Mapping[int, Delivery | NotNow]) -> dict[int, Delivery]:
    return {place: outcome for place, outcome in outcomes.items() if isinstance(outcome, Delivery)}


def _key_of(context: JobContext) -> str:
    # With the time of the add: an id may be used again for another job, and its message must not be taken for this one.
    job = f"{context.idempotency_key} {context.created_at.isoformat()}"
    return hashlib.sha256(job.encode()).hexdigest()[:32]


def _restored(state: Any, targets: Sequence[str]) -> dict[int, Delivery | NotNow]:
    """What earlier runs came to.

    Raises:
        Discard: the checkpoint is none of ours. Telling everybody again would be worse than telling nobody.
    """
    if state is None:
        return {}
    try:
        known = msgspec.convert(state, Told).targets
    except msgspec.ValidationError:
        raise Discard("the job's checkpoint was written by another function: add it as a new job") from None
    return {place: known[to] for place, to in enumerate(targets) if to in known}
