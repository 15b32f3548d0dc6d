"""Whether the worker's event loop stands: code that blocks it holds up all else that the worker does.

A thread looks, since what stands can't look after itself: one of its own, since a log or a disk that stands would hold
up the heartbeat's, and the leases with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Final

from redqueue.worker.run import Run

STANDS_AFTER: Final = 1 / 15
"""Of a lease: long before one could be lost, were it not for the heartbeat's thread."""

SOONEST: Final = 0.25
LATEST: Final = 2.0
"""Seconds between which that is, however long the lease."""

WARN_EVERY: Final = 60.0
"""Seconds from one warning to the next."""

MOST_NAMED: Final = 3

logger = logging.getLogger("redqueue.worker")


def stands_after(lease_ms: int) -> float:
    """Seconds without an answer from the loop before a worker warns."""
    return min(max(lease_ms / 1000 * STANDS_AFTER, SOONEST), LATEST)


class LagWatch:
    """Asks the loop for an answer twice in that time while jobs run, and measures how long it takes.

    Args:
        runs: what runs now; called in the watch's thread, as the others are.
        lease_ms: of the queue with the shortest lease.
        on_look: called after each look, also while nothing runs.
        on_end: called last.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        runs: Callable[[], Sequence[Run]],
        lease_ms: Callable[[], int],
        on_look: Callable[[], None],
        on_end: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._runs = runs
        self._lease_ms = lease_ms
        self._on_look = on_look
        self._on_end = on_end
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="redqueue-watch", daemon=True)
        self._asked_at: float | None = None
        self._longest = 0.0
        self._warned_at = -WARN_EVERY

    @property
    def standing(self) -> float:
        """Seconds for which the loop has been standing now; a moment while it does not."""
        asked_at = self._asked_at
        return 0.0 if asked_at is None else monotonic() - asked_at

    @property
    def longest(self) -> float:
        """The longest of them so far."""
        return max(self._longest, self.standing)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def end(self) -> None:
        """Look no more. Returns at once."""
        self._over.set()

    def _serve(self) -> None:
        began, pause = monotonic(), self._pause()
        while not self._over.wait(pause):
            try:
                self._look(monotonic() - began - pause)
                self._on_look()
            except Exception:
                logger.exception("looking at the event loop failed")
            began, pause = monotonic(), self._pause()
        self._on_end()

    def _pause(self) -> float:
        return stands_after(self._lease_ms()) / 2

    def _look(self, overslept: float) -> None:
        """Warn of what stands, or ask the loop."""
        runs = self._runs()
        if not runs:
            return
        lease_ms = self._lease_ms()
        after = stands_after(lease_ms)
        if overslept > after:
            # Nor did this thread get a turn: the loop is not to blame for that time.
            if self._asked_at is not None:
                self._ask()
            self._warn(_process_stood(overslept, lease_ms, runs), ())
        elif self._asked_at is None:
            self._ask()
        elif self.standing > after:
            blocking, surely = self._on_loop(runs)
            self._warn(_loop_stands(self.standing, lease_ms, blocking, surely), blocking if surely else ())

    def _ask(self) -> None:
        asked_at = self._asked_at = monotonic()
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._answer, asked_at)

    def _answer(self, asked_at: float) -> None:
        if asked_at == self._asked_at:  # else it was asked again meanwhile
            self._longest = max(self._longest, monotonic() - asked_at)
            self._asked_at = None

    def _on_loop(self, runs: Sequence[Run]) -> tuple[list[Run], bool]:
        """The run that the loop is in, surely; when that can't be told, all that it may be in."""
        current = asyncio.current_task(self._loop)
        entered = [run for run in runs if run.task is not None and not run.in_thread]
        inside = [run for run in entered if run.task is current]
        return inside or entered, len(inside) == 1

    def _warn(self, text: str, blocking: Sequence[Run]) -> None:
        if monotonic() - self._warned_at < WARN_EVERY:
            return
        self._warned_at = monotonic()
        facts = {"queue": blocking[0].facts.queue, "job_id": blocking[0].claimed.id} if blocking else {}
        logger.warning("%s", text, extra=facts)


def _loop_stands(seconds: float, lease_ms: int, blocking: Sequence[Run], surely: bool) -> str:
    if not blocking:
        who = "no job runs on it, so other code of this process blocks it"
    elif surely:
        who = f"{_named(blocking)} runs on it"
    else:
        who = f"one of its jobs may block it ({_named(blocking)}), or other code of this process"
    return (
        f"the event loop has been standing for {seconds:.1f} s, and with it all else in this worker but its leases "
        f"({lease_ms / 1000:g} s): {who}. Code that blocks belongs into a plain def, which runs in a thread, or into "
        "execution='process'"
    )


def _process_stood(seconds: float, lease_ms: int, runs: Sequence[Run]) -> str:
    return (
        f"this process stood for {seconds:.1f} s, and its leases ({lease_ms / 1000:g} s) with it, while it ran "
        f"{_named(runs)}. Code that holds the interpreter belongs into execution='process'; or the machine gave it no "
        "time"
    )


def _named(runs: Sequence[Run]) -> str:
    named = [
        f"job {run.claimed.id} of queue {run.facts.queue} ({run.prepared.binding.name})" for run in runs[:MOST_NAMED]
    ]
    more = len(runs) - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "")
