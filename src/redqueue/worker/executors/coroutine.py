"""Coroutines, on the worker's loop.

A task a job costs more than all the rest that is done for a short one. So coroutines that don't wait share a task: each
takes its first step in contextvars of its own, and the one that comes to wait has the task to itself from then on. Its
task is a task as any other: `asyncio.timeout`, task groups and a cancel find it by `asyncio.current_task`.
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from time import monotonic
from typing import Any, Final, TypeAlias
from weakref import getweakrefcount

from redqueue.worker.run import Run

LONGEST_TURN: Final = 0.001
"""Seconds after which others on the loop have their turn, when all that was in line has begun."""

LOOK_AGAIN_AFTER: Final = 50
"""Runs of a function that waited, which get a task at once, before it is tried again whether it still waits."""

Carry: TypeAlias = Callable[[Run], Coroutine[Any, Any, None]]


class Coroutines:
    """Begins runs in the next turn of the loop, in order.

    Args:
        carry: the whole of a run; it raises nothing.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, carry: Carry) -> None:
        self._loop = loop
        self._carry = carry
        # The end of one job starts the next: each begins with the worker's contextvars, not with those of that job.
        self._scope = contextvars.copy_context()
        self._line: deque[Run] = deque()
        self._turn: object = None
        self._waits: dict[str, int] = {}

    def enter(self, run: Run) -> None:
        """Begin a run soon: with others, or in a task of its own when its function is known to wait."""
        left = self._waits.get(run.prepared.binding.key, 0)
        if left:
            self._waits[run.prepared.binding.key] = left - 1
            # Not by the loop: an eager factory would begin it here.
            run.task = asyncio.Task(self._carry(run), loop=self._loop, context=self._scope.copy())
            return
        self._line.append(run)
        if self._turn is None:
            self._begin_turn()

    def _begin_turn(self) -> None:
        turn = self._turn = object()
        task = asyncio.Task(self._take_turn(turn), loop=self._loop, context=self._scope.copy())
        # It ends its turn itself, but for a task that was cancelled before it began.
        task.add_done_callback(lambda _: self._end_turn(turn))

    def _end_turn(self, turn: object) -> None:
        if self._turn is turn:
            self._turn = None
            if self._line:
                self._begin_turn()

    async def _take_turn(self, turn: object) -> None:
        task = asyncio.current_task()
        assert task is not None
        until = monotonic() + LONGEST_TURN
        untouched = _traces(task)
        try:
            while self._line and monotonic() < until:
                for _ in range(len(self._line)):
                    run = self._line.popleft()
                    run.task = task
                    scope, carried = self._scope.copy(), self._carry(run)
                    try:
                        waits_for = scope.run(carried.send, None)
                    except StopIteration:
                        run.task = None
                        if _traces(task) != untouched:
                            return
                        continue
                    self._hand_over(run, turn)
                    await _Rest(carried, scope, waits_for)
                    return
        finally:
            self._end_turn(turn)

    def _hand_over(self, run: Run, turn: object) -> None:
        """The task is that run's; those behind it begin elsewhere."""
        self._waits[run.prepared.binding.key] = LOOK_AGAIN_AFTER
        others = list(self._line)
        self._line.clear()
        self._end_turn(turn)
        for other in others:
            self.enter(other)


def _traces(task: asyncio.Task[None]) -> tuple[object, ...]:
    """What a run can leave on its task, and would hit another one: a cancel, or somebody who knows the task.

    Who knows it may cancel it later (a timer, a child, a generator that holds a time-out), call back at its end, or
    keep something by it. That is no harm to a task that has ended, and so the task ends.
    """
    known = sys.getrefcount(task) + getweakrefcount(task)
    callbacks = len(getattr(task, "_callbacks", None) or ())
    return known, callbacks, task.get_name(), task.cancelling(), getattr(task, "_must_cancel", False)


class _Rest:
    """What is left of a coroutine that waits, step by step in its own contextvars."""

    __slots__ = ("_carried", "_scope", "_waits_for")

    def __init__(self, carried: Coroutine[Any, Any, None], scope: contextvars.Context, waits_for: object) -> None:
        self._carried = carried
        self._scope = scope
        self._waits_for = waits_for

    def __await__(self) -> Generator[Any, Any, None]:
        step = self._scope.run
        waits_for = self._waits_for
        act: Callable[[Any], object]
        told: Any
        while True:
            try:
                answer = yield waits_for
            except BaseException as error:
                act, told = self._carried.throw, error
            else:
                act, told = self._carried.send, answer
            try:
                waits_for = step(act, told)
                told = None  # an error would keep its frames
            except StopIteration:
                return
