"""Blocking work of one job, beside the event loop."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


async def in_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run it in a thread of its own, with this task's context variables. A cancelled caller doesn't wait for it.

    Not in asyncio's threads: a storage that hangs must not keep other jobs from looking up the name of a server.
    """
    executor = ThreadPoolExecutor(1, thread_name_prefix="redqueue-beside")
    scope = contextvars.copy_context()
    try:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(executor, lambda: scope.run(function, *args, **kwargs))
    finally:
        executor.shutdown(wait=False)
