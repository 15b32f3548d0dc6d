"""An application of one job, for a worker whose start is measured."""

from __future__ import annotations

import time

from redqueue import ServiceRegistry

registry = ServiceRegistry()


@registry.processor("first")
async def first(data: object) -> int:
    """When it runs, in nanoseconds of the clock that all processes of one machine share."""
    return time.monotonic_ns()
