"""One chunk of messages on its way: all of it, or as much as could be told when something came between."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from redqueue.processors.sms.outcomes import Outcomes
from redqueue.processors.sms.pace import Pace
from redqueue.processors.sms.provider import (
    NumberRefused,
    ProviderBusy,
    ProviderDown,
    ProviderMisconfigured,
    SmsMessage,
    SmsSession,
)

LEAVES_WITHIN: Final = 2.0
"""Seconds for sends under way when the run is cancelled.

With what dropping the others and the last checkpoint may take, it is less than the 5 s that a worker gives its runs.
"""

ENDS_WITHIN: Final = 60.0
"""The same when another send met an outage."""

DROPS_WITHIN: Final = 1.0
"""Seconds for sends that were cancelled."""


class Chunk:
    """Sends messages by place, at once, and notes in `outcomes` what became of each that is known.

    What was not begun when a send fails, or the run is cancelled, is left; what is under way may end, so that as
    little as possible has to be sent again.
    """

    def __init__(self, session: SmsSession, pace: Pace, outcomes: Outcomes) -> None:
        self._session = session
        self._pace = pace
        self._outcomes = outcomes
        self._ending = False
        self._under_way: set[asyncio.Task[None]] = set()

    async def send(self, messages: Mapping[int, SmsMessage]) -> None:
        """Return when all of them are known.

        Raises:
            ProviderMisconfigured, ProviderBusy, Exception: the gravest of what the sends raised.
            CancelledError: the run was told to stop.
        """
        tasks = [asyncio.create_task(self._send(place, message)) for place, message in messages.items()]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            await self._end(tasks, ENDS_WITHIN)
        except asyncio.CancelledError:
            await self._end(tasks, LEAVES_WITHIN)
            raise
        errors = [error for task in tasks if not task.cancelled() and (error := task.exception())]
        if errors:
            raise gravest(errors)
        if not all(self._outcomes.has(place) for place in messages):
            raise ProviderDown("the provider ended a send without an answer")

    async def _send(self, place: int, message: SmsMessage) -> None:
        await self._pace.wait()
        if self._ending:
            return
        task = asyncio.current_task()
        assert task is not None
        self._under_way.add(task)
        try:
            message_id = await self._session.send(message)
        except NumberRefused as error:
            self._outcomes.refused(place, str(error))
        else:
            self._outcomes.sent(place, None if message_id is None else str(message_id))

    async def _end(self, tasks: Collection[asyncio.Task[None]], within: float) -> None:
        self._ending = True
        for task in tasks:
            if task not in self._under_way:
                task.cancel()
        left = {task for task in tasks if not task.done()}
        if left:
            _, left = await asyncio.wait(left, timeout=within)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=DROPS_WITHIN)


def gravest(errors: Sequence[BaseException]) -> BaseException:
    """The one that decides about the job: what no run can mend, then an outage, then the longest pause."""
    for error in errors:
        if isinstance(error, ProviderMisconfigured):
            return error
    for error in errors:
        if not isinstance(error, ProviderBusy):
            return error
    return max((error for error in errors if isinstance(error, ProviderBusy)), key=lambda busy: busy.after)
