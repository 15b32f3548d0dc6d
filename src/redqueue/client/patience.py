"""How long a call is sent again, and when that ends in an error."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from redqueue.client.faults import Action, classify, to_error


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds. A try that is under way is not cut short, so the last one may add the socket's timeouts to them.

    Attributes:
        unsent: how long to go on while nothing can be sent: no connection, or a server that isn't ready.
        sent: how long to go on once a call may have been carried out. The record of a numbered call lives for 10
            minutes on the server; below that, sending it again changes nothing.
        first_wait, longest_wait: between tries, doubled each time, less up to half of it by chance.
    """

    unsent: float = 5.0
    sent: float = 30.0
    first_wait: float = 0.05
    longest_wait: float = 1.0


PATIENCE: Final = Patience()


class Trouble:
    """One call that failed at least once: whether it is sent again, and after which wait."""

    __slots__ = ("_began", "_next_wait", "_patience", "_target", "reconnect", "sent", "unanswered")

    def __init__(self, patience: Patience, target: str, began: float) -> None:
        self._patience = patience
        self._target = target
        self._began = began
        self._next_wait = min(patience.first_wait, patience.longest_wait)
        self.reconnect = False
        self.sent = False
        self.unanswered = False

    def wait_after(self, error: Exception, now: float) -> float:
        """Seconds to wait before the call is sent again.

        Before that, `reconnect` says whether to resolve the address anew, and `unanswered` whether to drop the idle
        connections: the one that was used may have been dead for long, and so may they.

        Args:
            now: the clock by which the call began.
        Raises:
            RedisUnavailable, RedisRefused, RedisFull: it is not sent again.
        """
        fault = classify(error)
        self.unanswered = fault.sent
        self.sent = self.sent or fault.sent
        self.reconnect = fault.action is Action.RECONNECT
        patience = self._patience
        longest = patience.sent if self.sent else patience.unsent
        wait = self._next_wait * random.uniform(0.5, 1)  # noqa: S311 - spreading load, not a secret
        self._next_wait = min(patience.longest_wait, self._next_wait * 2)
        if fault.action in (Action.GIVE_UP, Action.BACK_PRESSURE) or now + wait - self._began > longest:
            raise to_error(fault, error, self._target, sent=self.sent) from error
        return wait
