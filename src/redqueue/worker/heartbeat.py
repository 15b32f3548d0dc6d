"""Leases are renewed by a thread with a connection of its own, so that a blocked event loop loses no job.

It is also the one that finds out whether Redis is back: it renews, and only then lets the worker's other calls go on.
"""

from __future__ import annotations

import contextlib
import logging
import random
import threading
from collections.abc import Callable, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Final

from redqueue.client.faults import CAUGHT, Action, classify, to_error, told
from redqueue.client.transport import Transport
from redqueue.core import lease
from redqueue.core.lease import Claimed
from redqueue.errors import RedisError

if TYPE_CHECKING:
    from redqueue.worker.pump import Pump

logger = logging.getLogger("redqueue.worker")

RENEW_EVERY: Final = 1 / 3
"""Of a lease, give or take a tenth: a live worker's lease has 0.63 left when an outage begins."""

IDLE_BEATS: Final = 2
"""Of which one renews when no lease is held: a sign of life, whose lack is forgiven for the time of two leases."""

PROBE_EVERY: Final = 1 / 15
"""Of a lease, while Redis is away: soon enough to renew before recovery, which holds for half a lease, takes over."""

LONGEST_PROBE: Final = 2.0
"""Seconds between two probes, and for the answer to one, however long the lease: work goes on 5 s after an outage."""


def answer_within(lease_ms: int) -> float:
    """Seconds for the answer to one renewal."""
    return min(max(lease_ms / 1000 * PROBE_EVERY, 0.2), LONGEST_PROBE)


class Heartbeat:
    """The renewals of one session, over all of its queues.

    Args:
        on_stop: told of a job that must stop: "l" its lease is lost, "c" it is cancelled.
        on_down, on_up: told whether Redis answers.
        on_refused: told that Redis will never take these calls.
        on_ended: told that nothing is renewed any more. All of them are called in this thread.
    Attributes:
        renewed_at: the monotonic time of each queue's last renewal that Redis answered; the start's before the first.
    """

    def __init__(
        self,
        transport: Transport,
        session: str,
        pumps: Sequence[Pump],
        *,
        on_stop: Callable[[Pump, Claimed, str], None],
        on_down: Callable[[str], None],
        on_up: Callable[[], None],
        on_refused: Callable[[RedisError], None],
        on_ended: Callable[[], None],
    ) -> None:
        self._transport = transport
        self._session = session
        self._pumps = pumps
        self._on_stop = on_stop
        self._on_down = on_down
        self._on_up = on_up
        self._on_refused = on_refused
        self._on_ended = on_ended
        self.renewed_at: dict[Pump, float] = {}
        self._wake = threading.Event()
        self._ended = False
        self._down = False
        self._rested = 0
        self._thread = threading.Thread(target=self._serve, name="redqueue-heartbeat", daemon=True)

    def start(self) -> None:
        """Begin; the first renewal is a third of a lease away."""
        self.renewed_at = dict.fromkeys(self._pumps, monotonic())
        self._thread.start()

    def end(self) -> None:
        """Renew nothing more; a renewal may be on its way."""
        self._ended = True
        self._wake.set()

    def look(self) -> None:
        """Somebody lost the connection: renew now instead of later."""
        self._down = True
        self._wake.set()

    def ask(self) -> None:
        """Renew now, to hear what may have got lost."""
        self._wake.set()

    def _serve(self) -> None:
        try:
            while not self._ended:
                asked = self._wake.wait(self._pause())
                self._wake.clear()
                if not self._ended and (asked or not self._rests()):
                    self._rested = 0
                    self._beat()
        finally:
            self._transport.close()
            self._on_ended()

    def _rests(self) -> bool:
        """Whether this beat is left out. The recoverer calls in between, so that no gap looks like an outage."""
        self._rested += 1
        return self._rested < IDLE_BEATS and not self._down and not any(pump.held for pump in self._pumps)

    def _pause(self) -> float:
        shortest = min(pump.lease_ms for pump in self._pumps) / 1000
        if self._down:
            return min(shortest * PROBE_EVERY, LONGEST_PROBE) * random.uniform(0.5, 1)  # noqa: S311 - spreading load
        return shortest * RENEW_EVERY * random.uniform(0.9, 1.1)  # noqa: S311

    def _beat(self) -> None:
        """Renew each queue's leases; one that can't be renewed keeps no other from it."""
        if self._down:
            self._transport.drop_idle()  # another connection was lost, and ours may be dead without a word
        errors = [error for pump in self._pumps if (error := self._tried(pump)) is not None]
        if errors:
            self._down = True
            self._tell(errors[0])
        elif self._down:
            self._down = False
            self._on_up()

    def _tried(self, pump: Pump) -> Exception | None:
        try:
            self._renew(pump)
        except CAUGHT as error:
            return error
        except Exception:  # the leases depend on this thread: the next beat tries again
            logger.exception("queue %s: renewing its leases failed", pump.keys.queue)
        return None

    def _tell(self, error: Exception) -> None:
        fault = classify(error)
        if fault.action is Action.GIVE_UP:
            self._on_refused(to_error(fault, error, self._transport.target, sent=False))
            return
        if fault.action is Action.RECONNECT:
            with contextlib.suppress(*CAUGHT):
                self._transport.reset()
        self._on_down(told(fault, error, self._transport.target))

    def _renew(self, pump: Pump) -> None:
        # What outran its time, and the loop that should have ended it, is left to others.
        now = monotonic()
        held = [run for run in list(pump.held) if run.renew_until > now]
        for start in range(0, len(held) or 1, lease.MOST_A_CALL):
            runs = held[start : start + lease.MOST_A_CALL]
            sent_at = monotonic()
            call = lease.renew(pump.keys, self._session, runs)
            renewal = call.read(self._transport.send(call))
            fresh_until = sent_at + renewal.lease_ms / 1500
            for run, word in zip(runs, renewal.words, strict=True):
                if word == "k":
                    run.fresh_until = fresh_until
                else:
                    self._on_stop(pump, run, word)
        self.renewed_at[pump] = monotonic()
