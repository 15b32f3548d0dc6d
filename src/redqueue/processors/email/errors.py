"""What sending mail raises. `Discard` and other steering is the processor's; these can be caught without a job."""

from __future__ import annotations

from redqueue.errors import RedQueueError


class UnsafeText(ValueError):
    """Text that could forge a header or a line of the protocol. Nothing is sent; trying again changes nothing."""


class BadAddress(ValueError):
    """What no mail can be sent to. The message is the reason, without the address."""


class MailError(RedQueueError):
    """A message was not accepted.

    Attributes:
        code: the server's reply, as in 451 (RFC 5321, 4.2); None: there was none.
    """

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class MailRefused(MailError):
    """For good: 5xx for the login, the sender or the message, or settings that can't work. Mend that first."""


class MailUnavailable(MailError):
    """For now: the server said 4xx, wants no mail at all, wasn't reached, hung up, or didn't answer in time."""
