"""Waiting for what waits at the server, while other calls go on."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


async def at_leisure(doing: Coroutine[Any, Any, Any], until: asyncio.Future[None] | None = None) -> Any:
    """What comes of something that waits at the server; None when `until` was done before.

    It has a task of its own: a cancel that was dropped would be noticed only when the waiting is over.
    """
    reading = asyncio.ensure_future(doing)
    reading.add_done_callback(_retrieve)
    try:
        await asyncio.wait({reading} if until is None else {reading, until}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        while not reading.done():
            reading.cancel()
            await asyncio.wait({reading}, timeout=0.05)
    return None if reading.cancelled() else reading.result()


def _retrieve(reading: asyncio.Task[Any]) -> None:
    """Nobody is left to hear how it ended when the one who waits is cancelled."""
    if not reading.cancelled():
        reading.exception()
