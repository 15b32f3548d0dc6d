"""Whether a worker can take jobs: told by what Redis answered, not by the process being there."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Final

from redqueue.records import WorkerHealth
from redqueue.worker.link import LATE, Link
from redqueue.worker.pump import LONGEST_BLOCK, LOOK_EVERY, Pump

if TYPE_CHECKING:
    from redqueue.worker.heartbeat import Heartbeat
    from redqueue.worker.lag import LagWatch
    from redqueue.worker.slots import Slots

CLAIM_WITHIN: Final = 2 * (LOOK_EVERY + LONGEST_BLOCK + LATE)
"""Seconds: two intervals in which an idle queue is looked at. One of the calls must have been answered."""

RENEWED_WITHIN: Final = 0.8
"""Of a lease: two beats, each a tenth late at most, and the answer."""

TOUCH_EVERY: Final = 5.0
"""Seconds after which the time of a ready file is set anew."""

SAY_EVERY: Final = 60.0

STOPPED: Final = WorkerHealth(
    ready=False,
    worker=None,
    running=0,
    claimed_s_ago=None,
    longest_lag_s=0.0,
    problem="it doesn't work: it was not started, or has left",
)

logger = logging.getLogger("redqueue.worker")


class Readiness:
    """Looks at the parts of a worker, from any thread, and keeps the file that others look at.

    Args:
        begun: whether all queues are entered and the worker does not leave.
        running: how many jobs run.
        looks: whether it looks for jobs as long as it has a free slot, as all do but a burst.
        path: of the ready file, or None.
    """

    def __init__(
        self,
        worker: str,
        pumps: Sequence[Pump],
        slots: Slots,
        link: Link,
        *,
        begun: Callable[[], bool],
        running: Callable[[], int],
        looks: bool,
        path: Path | None,
    ) -> None:
        self._worker = worker
        self._pumps = pumps
        self._slots = slots
        self._link = link
        self._begun = begun
        self._running = running
        self._looks = looks
        self._full_at: dict[Pump, float] = {}
        self._was_ready = False
        self._said_at = -SAY_EVERY
        self._file = None if path is None else ReadyFile(path, worker)

    def look(self, heartbeat: Heartbeat, lag: LagWatch) -> WorkerHealth:
        """What there is to say now."""
        problem = self._told_elsewhere(lag)
        if problem is None:
            problem = next(filter(None, (self._problem_of(pump, heartbeat) for pump in self._pumps)), None)
        answered = [pump.answered_at for pump in self._pumps]
        return WorkerHealth(
            ready=problem is None,
            worker=self._worker,
            running=self._running(),
            claimed_s_ago=None if 0.0 in answered else round(monotonic() - min(answered), 3),
            longest_lag_s=round(lag.longest, 3),
            problem=problem,
        )

    def tend(self, heartbeat: Heartbeat, lag: LagWatch) -> None:
        """Look, tell the log when it is not ready any more, and keep the file."""
        health = self.look(heartbeat, lag)
        if self._was_ready and health.problem is not None and self._told_elsewhere(lag) is None:
            self._say(health.problem)
        self._was_ready = health.ready
        if self._file is not None:
            self._file.keep(health.ready)

    def end(self) -> None:
        """It leaves."""
        if self._file is not None:
            self._file.keep(False)

    def _say(self, problem: str) -> None:
        if monotonic() - self._said_at >= SAY_EVERY:
            self._said_at = monotonic()
            logger.warning("not ready: %s", problem)

    def _told_elsewhere(self, lag: LagWatch) -> str | None:
        """A problem that the log has from those who found it."""
        if not self._begun():
            return "it enters its queues, or leaves them"
        if not self._link.is_up:
            return "Redis doesn't answer, and it waits for it"
        lease = min(pump.lease_ms for pump in self._pumps) / 1000
        if lag.standing > lease:
            return f"its event loop has been standing for {lag.standing:.0f} s"
        return None

    def _problem_of(self, pump: Pump, heartbeat: Heartbeat) -> str | None:
        if not pump.answered_at:
            return f"queue {pump.keys.queue}: no call that claims was answered yet"
        now = monotonic()
        if self._looks and (ago := now - self._answered_at(pump, now)) > CLAIM_WITHIN:
            return f"queue {pump.keys.queue}: no call that claims was answered for {ago:.0f} s"
        ago = now - heartbeat.renewed_at.get(pump, now)
        if pump.held and ago > RENEWED_WITHIN * pump.lease_ms / 1000:
            return f"queue {pump.keys.queue}: its leases were not renewed for {ago:.0f} s"
        return None

    def _answered_at(self, pump: Pump, now: float) -> float:
        """When a call of that queue was answered, or was last needless: without a free slot it has nothing to ask."""
        slots = self._slots
        if slots.closed or slots.running >= slots.total or pump.running >= pump.limit:
            self._full_at[pump] = now
        return max(pump.answered_at, self._full_at.get(pump, 0.0))


class ReadyFile:
    """A file that is there while its worker is ready; its time says when that was last so."""

    def __init__(self, path: Path, worker: str) -> None:
        self._path = path
        self._text = f"{worker}\n".encode()
        self._kept_at: float | None = None
        self._complained = False
        with self._excused():
            self._remove()  # of a worker that was killed

    def keep(self, ready: bool) -> None:
        """Make it or set its time, or remove it."""
        with self._excused():
            if not ready:
                if self._kept_at is not None:
                    self._kept_at = None
                    self._remove()
            elif self._kept_at is None or monotonic() - self._kept_at >= TOUCH_EVERY:
                self._kept_at = monotonic()
                self._write()

    def _write(self) -> None:
        # Not through a link that somebody else left in a shared folder, nor for ever into a pipe.
        flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        file = os.open(self._path, flags, 0o644)
        try:
            os.write(file, self._text)
        finally:
            os.close(file)

    def _remove(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()

    @contextlib.contextmanager
    def _excused(self) -> Iterator[None]:
        """A file that can't be written is no reason to stop working; it is told once."""
        try:
            yield
        except OSError as error:
            if not self._complained:
                self._complained = True
                logger.error("the ready file %s can't be kept: %s", self._path, error.strerror)
