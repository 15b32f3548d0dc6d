"""A worker that starts looks once whether its server may throw jobs away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from redqueue.client.transport import AsyncTransport
from redqueue.core import eviction
from redqueue.worker.link import ANSWER_WITHIN

logger = logging.getLogger("redqueue.worker")


async def warn_of_eviction(transport: AsyncTransport) -> None:
    """One warning; nothing when the server doesn't say, or may not be asked: `redqueue doctor` tells that.

    Of a cluster one node is asked. Cost: one round trip.
    """
    found = await _found(transport)
    if found is not None and found.limited:
        logger.warning("%s: %s. %s", transport.target, found.says, found.do)


async def _found(transport: AsyncTransport) -> eviction.Eviction | None:
    try:
        async with asyncio.timeout(ANSWER_WITHIN):
            client = await transport.client()
            memory: Mapping[str, Any] = await client.execute_command("INFO", "memory")
        return eviction.judge(str(memory.get("maxmemory_policy", eviction.KEEPS_ALL)), int(memory.get("maxmemory", 0)))
    except Exception:  # denied, unknown, another kind of answer, or what uvloop raises: no reason not to work
        return None
