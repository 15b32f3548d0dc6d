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

    @property
    def backlog(self) -> deque[Claimed]:
        """Claimed, not started; in order."""
        ...

    def start_next(self) -> None:
        """Take the first of the backlog and run it."""

    def start(self, run: Claimed) -> None:
        """Run that job now."""

    def notice_free_slot(self) -> None:
        """Look whether there is one to ask for."""

    def return_backlog(self) -> None:
        """Give back what has not started."""

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
        self._hungry: list[Line] = []
        self._filling = False
        self._suspects: deque[tuple[Line, Claimed]] = deque()
        self._alone: asyncio.Task[None] | None = None
        self._emptied = asyncio.Event()

    @property
    def closed(self) -> bool:
        """Whether nothing starts, because a suspect waits or runs alone."""
        return self._alone is not None

    def free(self, line: Line) -> int:
        """Slots that nobody runs in, that no trip has asked for, and that are no other queue's turn."""
        before = self._hungry.index(line) if line in self._hungry else len(self._hungry)
        return min(self.total - self.running - self._reserved - before, self.own_share(line))

    def own_share(self, line: Line) -> int:
        """Slots that the line's own limit leaves it, whoever has them now."""
        return line.limit - line.running - line.reserved

    def set_hungry(self, line: Line, hungry: bool) -> None:
        """Whether the line has work and found every slot taken: then the next free one is kept for it.

        Without this a queue that is never empty would take each slot again in the trip that frees it.
        """
        if hungry != (line in self._hungry):
            if hungry:
                self._hungry.append(line)
            else:
                self._hungry.remove(line)
                self.fill()
                self._tell_hungry()

    def reserve(self, line: Line, count: int) -> None:
        """Keep slots for jobs that a trip asks for; a negative count frees them again."""
        self._reserved += count
        line.reserved += count
        if count > 0:
            self.set_hungry(line, False)
        elif count < 0:
            self._tell_hungry()

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
            if self._hungry:
                self._tell_hungry()

    def run_alone(self, line: Line, suspect: Claimed) -> None:
        """Run a suspect when nothing else runs, or after a few seconds of waiting for that."""
        self._suspects.append((line, suspect))
        if self._alone is None:
            self._alone = asyncio.get_running_loop().create_task(self._run_suspects())
            # Meanwhile nothing else starts here, so other workers shall have it.
            for other in self.lines:
                other.return_backlog()

    def waiting(self, line: Line) -> list[Claimed]:
        """Suspects of that line that did not start yet."""
        return [suspect for owner, suspect in self._suspects if owner is line]

    def withdraw(self, line: Line, suspect: Claimed) -> bool:
        """Take a suspect back that has not started. False: it is none, or it runs."""
        if (line, suspect) not in self._suspects:
            return False
        self._suspects.remove((line, suspect))
        return True

    def _tell_hungry(self) -> None:
        for line in self._hungry:
            line.notice_free_slot()

    def _fill(self) -> None:
        passed = 0
        while passed < len(self.lines) and self.running < self.total - len(self._hungry) and self._alone is None:
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
                if not self._suspects:
                    break
                line, suspect = self._suspects.popleft()
                # Redis must know what has not started before this starts: else its crash counts for all of them.
                await asyncio.gather(*(other.announce() for other in self.lines))
                line.start(suspect)
                await self._until_empty(ALONE_FOR)
        finally:
            self._alone = None
            self.fill()
            for line in self.lines:
                line.notice_free_slot()

    async def _until_empty(self, seconds: float) -> None:
        self._emptied.clear()
        if self.running == 0:
            return
        try:
            async with asyncio.timeout(seconds):
                await self._emptied.wait()
        except TimeoutError:
            logger.info("a job that crashed its worker before runs beside others: waited %g s", seconds)
