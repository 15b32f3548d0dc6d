"""What a session is told between its renewals: jobs that somebody cancelled."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from redqueue.worker.link import Link

if TYPE_CHECKING:
    from redqueue.worker.pump import Pump

BLOCK: Final = 8.0
"""Seconds; below the time-out of a socket."""


async def listen_for_ever(pump: Pump, link: Link, inbox: str, on_doubt: Callable[[], None]) -> None:
    """Stop the jobs of one queue that are named in the session's inbox, busy or not; an idle worker holds none.

    Args:
        on_doubt: called when a message may have been lost on the way: the next renewal tells, too.
    """
    while True:
        await pump.holding.wait()
        told, sure = await link.take_from(inbox, BLOCK)
        if told is not None:
            pump.stop_by_id(told)
        if not sure:
            on_doubt()
