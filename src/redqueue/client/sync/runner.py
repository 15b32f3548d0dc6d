"""Carries calls out: sends each until it is answered or there is no use in trying any longer."""

from __future__ import annotations

import random
import time
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any, Final, TypeVar

from redqueue.client.faults import CAUGHT
from redqueue.client.lanes import producer
from redqueue.client.patience import PATIENCE, Patience, Trouble
from redqueue.client.transport import Transport
from redqueue.core import add
from redqueue.core.add import NewJob, Stored
from redqueue.core.keys import Keys
from redqueue.core.script import Call, Steps
from redqueue.errors import RedisUnavailable

R = TypeVar("R")

_UNTIL_S: Final = 0.5
"""For so long a read waits that is to be ended: no other thread can end it."""


class Runner:
    """Carries out the calls of one queue, for any thread.

    A numbered call travels on a lane of this process's, so that sending it again changes nothing. The lane of a call
    that was given up is not used again: a copy of the call may still be on its way.
    """

    __slots__ = ("_closing", "_transport", "keys", "patience")

    def __init__(self, transport: Transport, keys: Keys, patience: Patience = PATIENCE) -> None:
        self._transport = transport
        self.keys = keys
        self.patience = patience
        self._closing: Future[None] = Future()

    def run(self, call: Call[R], until: Future[None] | None = None) -> R:
        """What the call's answer says.

        Args:
            until: when it is done, a call that isn't numbered is not sent again.
        Raises:
            RedisUnavailable: not reached in 5 s, or no answer in 30 s; `sent` says which.
            RedisRefused, RedisFull: Redis said no.
        Cost: one round trip.
        """
        if not call.script.numbered:
            return call.read(self._send(call, until))
        ours = producer()
        lane = ours.take()
        raw = self._send(call.on(self.keys.producer(lane), next(ours.numbers)))
        ours.give_back(lane)
        return call.read(raw)

    def store(self, job: NewJob) -> Stored:
        """Add one job. Cost: one round trip."""
        return self.run(add.add(self.keys, (job,)))[0]

    def run_steps(self, steps: Steps[R]) -> R:
        """What an operation of several round trips returns. Calls that were carried out stay so when a later fails."""
        answer: Any = None
        try:
            while True:
                answer = self.run(steps.send(answer))
        except StopIteration as end:
            result: R = end.value
            return result

    def wait_for_event(self, after: str, seconds: float, until: Future[None] | None = None) -> None:
        """Wait until the queue has an event behind that one, or that long; less when the way to Redis is in trouble.

        It says nothing of what happened: look by `run`.

        Args:
            until: ends the waiting when it is done, soon.
        Raises:
            RedisRefused, RedisFull: Redis said no.
        """
        if until is not None:
            if until.done():
                return
            seconds = min(seconds, _UNTIL_S)
        tried_at = time.monotonic()
        try:
            self._transport.wait_for_entry(self.keys["events"], after, seconds, until)
        except CAUGHT as error:
            if until is not None and until.done():
                return
            trouble = Trouble(self.patience, self._transport.target, tried_at)
            with suppress(RedisUnavailable):
                trouble.wait_after(error, time.monotonic())
            time.sleep(random.uniform(0.1, 1))  # noqa: S311 - spreading load, not a secret
            self._renew_connections(trouble, tried_at)

    def closing(self) -> Future[None]:
        """It is done once this is closed."""
        return self._closing

    def close(self) -> None:
        """Give the share of the pool back. A later call takes one again."""
        closing, self._closing = self._closing, Future()
        with suppress(InvalidStateError):  # two threads close it
            closing.set_result(None)
        self._transport.close()

    def _send(self, call: Call[Any], until: Future[None] | None = None) -> Any:
        send = self._transport.send if call.durability == "memory" else self._transport.send_and_confirm
        began = time.monotonic()
        try:
            return send(call, until)
        except CAUGHT as error:
            return self._send_again(call, error, began, until)

    def _send_again(self, call: Call[Any], error: Exception, began: float, until: Future[None] | None) -> Any:
        send = self._transport.send if call.durability == "memory" else self._transport.send_and_confirm
        trouble, tried_at = Trouble(self.patience, self._transport.target, began), began
        while True:
            time.sleep(trouble.wait_after(error, time.monotonic()))
            if until is not None and until.done():
                raise RedisUnavailable("The queue's handle was closed", sent=trouble.sent)
            self._renew_connections(trouble, tried_at)
            tried_at = time.monotonic()
            try:
                return send(call, until)
            except CAUGHT as again:
                error = again

    def _renew_connections(self, trouble: Trouble, since: float) -> None:
        if trouble.reconnect:
            self._transport.reset(since)
        elif trouble.unanswered:
            self._transport.drop_idle(since)
