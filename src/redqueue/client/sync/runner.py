"""Carries calls out: sends each until it is answered or there is no use in trying any longer."""

from __future__ import annotations

import random
import time
from contextlib import suppress
from typing import Any, TypeVar

from redqueue.client.faults import CAUGHT
from redqueue.client.lanes import producer
from redqueue.client.patience import PATIENCE, Patience, Trouble
from redqueue.client.transport import Transport
from redqueue.core.keys import Keys
from redqueue.core.script import Call, Steps
from redqueue.errors import RedisUnavailable

R = TypeVar("R")


class Runner:
    """Carries out the calls of one queue, for any thread.

    A numbered call travels on a lane of this process's, so that sending it again changes nothing. The lane of a call
    that was given up is not used again: a copy of the call may still be on its way.
    """

    __slots__ = ("_transport", "keys", "patience")

    def __init__(self, transport: Transport, keys: Keys, patience: Patience = PATIENCE) -> None:
        self._transport = transport
        self.keys = keys
        self.patience = patience

    def run(self, call: Call[R]) -> R:
        """What the call's answer says.

        Raises:
            RedisUnavailable: not reached in 5 s, or no answer in 30 s; `sent` says which.
            RedisRefused, RedisFull: Redis said no.
        Cost: one round trip.
        """
        if not call.script.numbered:
            return call.read(self._send(call))
        ours = producer()
        lane = ours.take()
        raw = self._send(call.on(self.keys.producer(lane), next(ours.numbers)))
        ours.give_back(lane)
        return call.read(raw)

    def run_steps(self, steps: Steps[R]) -> R:
        """What an operation of several round trips returns. Calls that were carried out stay so when a later fails."""
        answer: Any = None
        try:
            while True:
                answer = self.run(steps.send(answer))
        except StopIteration as end:
            result: R = end.value
            return result

    def wait_for_event(self, after: str, seconds: float) -> None:
        """Wait until the queue has an event behind that one, or that long; less when the way to Redis is in trouble.

        It says nothing of what happened: look by `run`.

        Raises:
            RedisRefused, RedisFull: Redis said no.
        """
        try:
            self._transport.wait_for_entry(self.keys["events"], after, seconds)
        except CAUGHT as error:
            trouble = Trouble(self.patience, self._transport.target, time.monotonic())
            with suppress(RedisUnavailable):
                trouble.wait_after(error, time.monotonic())
            time.sleep(random.uniform(0.1, 1))  # noqa: S311 - spreading load, not a secret
            if trouble.reconnect:
                self._transport.reset()

    def close(self) -> None:
        """Give the share of the pool back."""
        self._transport.close()

    def _send(self, call: Call[Any]) -> Any:
        began = time.monotonic()
        try:
            return self._transport.send(call)
        except CAUGHT as error:
            return self._send_again(call, error, began)

    def _send_again(self, call: Call[Any], error: Exception, began: float) -> Any:
        trouble = Trouble(self.patience, self._transport.target, began)
        while True:
            time.sleep(trouble.wait_after(error, time.monotonic()))
            if trouble.reconnect:
                self._transport.reset()
            try:
                return self._transport.send(call)
            except CAUGHT as again:
                error = again
