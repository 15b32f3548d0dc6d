"""Waiting for results: all threads that wait for jobs of a queue's handle share one reader of its events."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from redqueue.client.sync.runner import Runner
from redqueue.core import results
from redqueue.core.results import Ending, Waiter, Watch
from redqueue.errors import RedisUnavailable, Seconds
from redqueue.units import to_ms

_LONGEST_CALL_S: Final = 1.0


class Results:
    """The results of one queue's jobs, for any thread. A forked child lacks its parent's threads, and begins anew."""

    __slots__ = ("_hub", "runner")

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self._hub = _Hub(runner)

    def wait(self, job_id: str, position: str | None, timeout: Seconds | None) -> Any:
        """What the job returned.

        Args:
            position: an event before all that becomes of the job, where one is known.
        """
        ms = None if timeout is None else to_ms("timeout", timeout)
        if ms == 0:
            ending = self.runner.run_steps(results.look_once(self.runner.keys, job_id, position))
        else:
            ending = self._here().wait(job_id, position, None if ms is None else ms / 1000)
        return results.value_of(job_id, ending, self.runner.keys.seal)

    def close(self) -> None:
        """End the waiting in this process."""
        hub, self._hub = self._here(), _Hub(self.runner)
        hub.close()

    def _here(self) -> _Hub:
        if self._hub.pid != os.getpid():
            self._hub = _Hub(self.runner)
        return self._hub


class _Hub:
    """Who waits in one process; a thread that reads the events, and at times one that looks for those who need it."""

    __slots__ = ("_calling", "_lock", "_looker", "_reader", "_runner", "_watch", "pid")

    def __init__(self, runner: Runner) -> None:
        self.pid = os.getpid()
        self._runner = runner
        self._watch = Watch()
        self._lock = threading.Lock()
        self._calling = threading.Lock()  # held while a call is on its way, other than the read that waits
        self._looker: threading.Thread | None = None
        self._reader: threading.Thread | None = None

    def wait(self, job_id: str, position: str | None, seconds: float | None) -> Ending | None:
        """How the job ended; None when it did not in time."""
        told = threading.Event()
        waiter = Waiter(job_id, position, told.set)
        try:
            with self._lock:
                self._watch.join(waiter)
                self._go_on()
            told.wait(seconds)
        finally:
            with self._lock:
                self._watch.leave(waiter)
        return waiter.ending

    def close(self) -> None:
        """The threads end by themselves, at the latest with the read that waits; no call of theirs is on its way."""
        with self._lock:
            self._watch.close()
        if self._calling.acquire(timeout=_LONGEST_CALL_S):
            self._calling.release()

    def _go_on(self) -> None:
        """Under the lock. A thread is forgotten, under the lock, by itself, before it ends."""
        if self._watch.unseen and self._looker is None:
            self._looker = _started(self._look, "redqueue results: look")
        if self._watch.position is not None and self._reader is None:
            self._reader = _started(self._read, "redqueue results: read")

    def _look(self) -> None:
        goes_on = True
        while goes_on:
            try:
                goes_on = self._look_at_some()
            except Exception as error:
                with self._lock:
                    self._watch.fail(error)

    def _look_at_some(self) -> bool:
        with self._calling:
            with self._lock:
                waiters = self._watch.take_unseen()
                if not waiters:
                    self._looker = None
                    return False
            try:
                seen = self._runner.run_steps(results.look_for(self._runner.keys, waiters))
            except RedisUnavailable:
                seen = None
        if seen is None:
            _pause()
        with self._lock:
            if seen is None:
                self._watch.put_back(waiters)
            else:
                self._watch.looked(waiters, seen)
            self._go_on()
        return True

    def _read(self) -> None:
        while True:
            try:
                with self._calling:
                    if self._rests():
                        return
                    found = self._runner.run(self._watch.next_call(self._runner.keys))
                with self._lock:
                    last = self._watch.feed(found)
                    self._go_on()
                if last is not None:
                    self._runner.wait_for_event(last, results.BLOCK_S)
            except RedisUnavailable:
                _pause()
            except Exception as error:
                with self._lock:
                    self._watch.fail(error)

    def _rests(self) -> bool:
        with self._lock:
            rests = self._watch.rests(time.monotonic())
            if rests:
                self._reader = None
            return rests


def _started(work: Callable[[], None], name: str) -> threading.Thread:
    """A thread that runs; raises RuntimeError when the system has none left."""
    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    return thread


def _pause() -> None:
    time.sleep(random.uniform(0.1, 1))  # noqa: S311 - spreading load, not a secret
