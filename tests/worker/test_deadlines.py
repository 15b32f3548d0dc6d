"""One heap and one timer for all deadlines."""

from __future__ import annotations

import asyncio
from time import monotonic

from redqueue.worker.deadlines import Deadline, Deadlines, Timed


class Run:
    def __init__(self, name: str) -> None:
        self.name = name
        self.due: Deadline | None = None


class Told:
    def __init__(self) -> None:
        self.names: list[str] = []
        self.deadlines = Deadlines(asyncio.get_running_loop(), self._on_due)
        self.again: float | None = None
        self.all_of = asyncio.Event()
        self.wanted = 0

    def _on_due(self, timed: Timed) -> None:
        assert isinstance(timed, Run)
        assert timed.due is None
        self.names.append(timed.name)
        if self.again is not None and timed.name == "first":
            self.deadlines.set(timed, self.again)
        if len(self.names) == self.wanted:
            self.all_of.set()

    async def wait(self, wanted: int) -> list[str]:
        self.wanted = wanted
        await asyncio.wait_for(self.all_of.wait(), 5)
        return self.names


async def test_a_deadline_that_is_set_anew_delays_no_other() -> None:
    told = Told()
    told.again = 60  # as for a run that was told to stop
    began = monotonic()
    told.deadlines.set(Run("first"), 0.01)
    told.deadlines.set(Run("second"), 0.05)
    assert await told.wait(2) == ["first", "second"]
    assert monotonic() - began < 30
    told.deadlines.close()


async def test_they_are_told_in_the_order_of_their_times_and_a_moved_one_once() -> None:
    told = Told()
    late, early, moved, forgotten = Run("late"), Run("early"), Run("moved"), Run("forgotten")
    told.deadlines.set(late, 0.06)
    told.deadlines.set(moved, 0.01)
    told.deadlines.set(forgotten, 0.02)
    told.deadlines.set(early, 0.03)
    told.deadlines.set(moved, 0.09)
    told.deadlines.forget(forgotten)
    assert await told.wait(3) == ["early", "late", "moved"]


async def test_what_ended_is_not_held_until_its_deadline() -> None:
    told = Told()
    for n in range(10_000):
        run = Run(str(n))
        told.deadlines.set(run, 3_600)
        told.deadlines.forget(run)
    assert len(told.deadlines) < 200
    told.deadlines.close()
