"""Blocking work of one job, beside the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


async def in_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run it in a thread of its own. A cancelled caller doesn't wait for it.

    Not in asyncio's threads: a storage that hangs must not keep other jobs from looking up the name of a server.
    """
    executor = ThreadPoolExecutor(1, thread_name_prefix="redqueue-email")
    try:
        return await asyncio.get_running_loop().run_in_executor(executor, lambda: function(*args, **kwargs))
    finally:
        executor.shutdown(wait=False)
