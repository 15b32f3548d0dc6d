"""Jobs of dead workers go back in line. Every worker looks, none leads: the script makes it safe."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Final

from redqueue.core import lease
from redqueue.worker.link import Link

if TYPE_CHECKING:
    from redqueue.worker.pump import Pump

logger = logging.getLogger("redqueue.worker")

SCAN_EVERY: Final = 1 / 3
"""Of a lease, give or take a tenth."""

MOST_A_SCAN: Final = 100


async def recover_for_ever(pump: Pump, link: Link, max_crashes: int) -> None:
    """Scan one queue every third of a lease, again at once while a scan comes back full.

    Raises:
        RedisRefused: Redis will never take these calls.
    """
    while True:
        recovery = await link.deliver(lease.recover(pump.keys, max_crashes))
        for job_id in recovery.crashed:
            logger.error("job %s failed: its worker died while it ran, %d times", job_id, max_crashes)
        if recovery.count:
            logger.warning("queue %s: %d jobs of dead workers recovered", pump.keys.queue, recovery.count)
        if recovery.count >= MOST_A_SCAN:
            continue
        pause = pump.lease_ms / 1000 * SCAN_EVERY * random.uniform(0.9, 1.1)  # noqa: S311 - spreading load
        if recovery.hold_ms:
            # Just after the hold, when there may be much to take back.
            pause = min(pause, recovery.hold_ms / 1000 + 0.01)
        await asyncio.sleep(pause)
