"""How many jobs run at once in a worker, over all of its queues, and whose turn it is."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Final, Protocol

from redqueue.core.lease import Claimed

ALONE_WITHIN: Final = 5.0
"""Seconds for which a suspect waits until nothing else runs."""

ALONE_FOR: Final = 60.0
"""Seconds for which nothing starts beside it: a job that outlives them is hardly the one that kills its worker."""

logger = logging.getLogger("redqueue.worker")


class Line(Protocol):
    """Jobs of one queue that wait in the worker for a slot: what a line is to the slots."""

    limit: int
    running: int
    reserved: int
    backlog: deque[Claimed]

    def start_next(self) -> None:
        """Take the first of the backlog and run it."""

    def start(self, run: Claimed) -> None:
        """Run that job now."""

    async def announce(self) -> None:
        """Return when Redis knows what has not started."""


class Slots:
    """Free slots, handed to the queues in turn.

    A job whose worker died under it almost too often is a suspect: it runs alone, so that its next crash is counted
    against no other job.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.running = 0
        self._reserved = 0
        self.lines: list[Line] = []
        self._turn = 0
        self._filling = False
        self._suspects: deque[tuple[Line, Claimed]] = deque()
        self._alone: asyncio.Task[None] | None = None
        self._emptied = asyncio.Event()

    def free(self, line: Line) -> int:
        """Slots that nobody runs in and no trip has asked for."""
        return min(self.total - self.running - self._reserved, line.limit - line.running - line.reserved)

    def reserve(self, line: Line, count: int) -> None:
        """Keep slots for jobs that a trip asks for; a negative count frees them again."""
        self._reserved += count
        line.reserved += count

    def fill(self) -> None:
        """Start what waits in the worker, one queue after the other."""
        if self._filling:
            return  # a job that ended while it was being started: the loop below goes on with its slot
        self._filling = True
        try:
            self._fill()
        finally:
            self._filling = False

    def take(self, line: Line) -> None:
        """A job begins."""
        self.running += 1
        line.running += 1

    def give_back(self, line: Line) -> None:
        """A job has ended."""
        self.running -= 1
        line.running -= 1
        if self._suspects or self._alone is not None:
            if self.running == 0:
                self._emptied.set()
        else:
            self.fill()

    def run_alone(self, line: Line, suspect: Claimed) -> None:
        """Run a suspect when nothing else runs, or after a few seconds of waiting for that."""
        self._suspects.append((line, suspect))
        if self._alone is None:
            self._alone = asyncio.get_running_loop().create_task(self._run_suspects())

    @property
    def waiting(self) -> list[Claimed]:
        """Suspects that did not start yet."""
        return [suspect for _, suspect in self._suspects]

    def _fill(self) -> None:
        passed = 0
        while passed < len(self.lines) and self.running < self.total and self._alone is None:
            line = self.lines[self._turn % len(self.lines)]
            self._turn += 1
            if line.backlog and line.running < line.limit:
                line.start_next()
                passed = 0
            else:
                passed += 1

    async def _run_suspects(self) -> None:
        try:
            while self._suspects:
                await self._until_empty(ALONE_WITHIN)
                line, suspect = self._suspects.popleft()
                # Redis must know what has not started before this starts: else its crash counts for all of them.
                await asyncio.gather(*(other.announce() for other in self.lines))
                line.start(suspect)
                await self._until_empty(ALONE_FOR)
        finally:
            self._alone = None
            self.fill()

    async def _until_empty(self, seconds: float) -> None:
        self._emptied.clear()
        if self.running == 0:
            return
        try:
            async with asyncio.timeout(seconds):
                await self._emptied.wait()
        except TimeoutError:
            logger.info("a job that crashed its worker before runs beside others: waited %g s", seconds)
