"""A way to tell people something, as the notifier sees it; and the one within the application."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias

from redqueue.errors import Discard, JobCancelled, LeaseLost, RedQueueError, Steering
from redqueue.processors.notifying import Notifies
from redqueue.processors.threads import in_thread
from redqueue.registry.binding import is_async
from redqueue.registry.names import escaped
from redqueue.shapes import Delivery

InApp: TypeAlias = Callable[[str, str, Mapping[str, Any]], Awaitable[object] | object]
"""``notify(user_id, message, context)``, async or plain."""

MOST_SHOWN: Final = 320
MOST_WHY: Final = 200


class NotNow(RedQueueError):
    """This recipient could not be told for now; others may be. Its text has nothing secret."""


class RecipientRefused(RedQueueError):
    """Raised by an application's in-app function: this recipient will never do. It becomes a failed entry.

    Args:
        reason: stands in the job's result, so nothing secret: the first 200 characters of it.
    """

    def __init__(self, reason: str) -> None:
        self.reason: Final = reason
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Message:
    """What recipients are told.

    Attributes:
        text: what a person reads.
        context: what a subject or template is taken from.
    """

    text: str = field(repr=False)
    context: Mapping[str, Any] = field(repr=False)


class TellingSession(Protocol):
    """An open channel, used by one job and for one message."""

    async def tell(self, to: str, idempotency_key: str, /) -> Delivery:
        """Tell one of the targets that the session was opened for; a recipient that will never do is a failed entry.

        Raises:
            NotNow: try this one again; the others can be told meanwhile.
            Discard, Snooze: so goes the job on.
            Exception: an outage; the others needn't be tried.
        """
        ...


class Channel(Protocol):
    """Tells by one kind. It holds settings; what has a life is opened for a message, and closed after it."""

    def targets(self, recipients: Sequence[str], /) -> Sequence[str]:
        """Who is told one by one, each once, when a job names these recipients."""
        ...

    def open(self, targets: Iterable[str], message: Message, /) -> AbstractAsyncContextManager[TellingSession]:
        """Open what telling them needs.

        Raises:
            Discard: the message will never do; nobody was told.
        """
        ...


class InAppChannel:
    """Calls the application's function: a coroutine on the event loop, a plain one in a thread."""

    def __init__(self, notify: InApp) -> None:
        self._notify = notify

    def targets(self, recipients: Sequence[str], /) -> Sequence[str]:
        """Ids of users."""
        return once_each(recipients)

    @asynccontextmanager
    async def open(self, targets: Iterable[str], message: Message, /) -> AsyncIterator[TellingSession]:
        """Nothing to open."""
        yield _InAppSession(self._notify, message)


class _InAppSession:
    def __init__(self, notify: InApp, message: Message) -> None:
        self._notify = notify
        self._message = message

    async def tell(self, to: str, idempotency_key: str, /) -> Delivery:
        """What the function raises is of this recipient alone, but for what steers the job or ends it."""
        try:
            await self._call(to, idempotency_key)
        except RecipientRefused as refused:
            return failed(to, refused.reason)
        except (Steering, JobCancelled, LeaseLost):
            raise
        except Exception as error:  # not its text, which may have anything in it
            raise NotNow(f"the in_app function raised {type(error).__name__}") from error
        return told(to)

    async def _call(self, to: str, idempotency_key: str) -> None:
        context = {**self._message.context, "idempotency_key": idempotency_key}
        notify: Any = self._notify
        if is_async(notify):
            await notify(to, self._message.text, context)
        else:
            await in_thread(notify, to, self._message.text, context)


class ForeignChannel:
    """One kind of an application's own notifier, which is asked for each recipient alone."""

    def __init__(self, notifier: Notifies, kind: str) -> None:
        self._notifier = notifier
        self._kind = kind

    def targets(self, recipients: Sequence[str], /) -> Sequence[str]:
        """As they are."""
        return once_each(recipients)

    @asynccontextmanager
    async def open(self, targets: Iterable[str], message: Message, /) -> AsyncIterator[TellingSession]:
        """Nothing to open."""
        yield _ForeignSession(self._notifier, self._kind, message)


class _ForeignSession:
    def __init__(self, notifier: Notifies, kind: str, message: Message) -> None:
        self._notifier = notifier
        self._kind = kind
        self._message = message

    async def tell(self, to: str, idempotency_key: str, /) -> Delivery:
        """It has told, or it raises."""
        message = self._message
        await self._notifier.send(self._kind, [to], message.text, message.context, idempotency_key=idempotency_key)
        return told(to)


def told(to: str, message_id: str | None = None) -> Delivery:
    """The entry of one who was told."""
    return Delivery(
        to=escaped(to, MOST_SHOWN), message_id=None if message_id is None else escaped(message_id, MOST_WHY)
    )


def failed(to: str, why: str) -> Delivery:
    """The entry of one who never will be."""
    return Delivery(to=escaped(to, MOST_SHOWN), status="failed", error=escaped(why, MOST_WHY))


def once_each(recipients: Sequence[str]) -> list[str]:
    """In order, without those that stand there already."""
    return list(dict.fromkeys(recipients))


def text_in(context: Mapping[str, Any], name: str, most: int) -> str | None:
    """A text among a job's options; None: it isn't there.

    Raises:
        Discard: it is something else, or longer.
    """
    value = context.get(name)
    if value is None or (isinstance(value, str) and 1 <= len(value) <= most):
        return value
    raise Discard(f"{name} in the job's context must be text of 1 to {most} characters")


def short_key(key: str) -> str:
    """An idempotency key of at most 200 characters."""
    return key if len(key) <= 200 else hashlib.sha256(key.encode()).hexdigest()
