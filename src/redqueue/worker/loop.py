"""An event loop of the worker's own. Unlike `asyncio.run` it ends, also when a job's task refuses to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final

END_WITHIN: Final = 2.0
"""Seconds for tasks that a worker leaves behind."""

logger = logging.getLogger("redqueue.worker")


def run_in_loop(
    main: Coroutine[Any, Any, None], loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
) -> None:
    """Run to the end; then cancel what is left, and wait for it no longer than 2 s."""
    loop = (loop_factory or asyncio.new_event_loop)()
    try:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(main)
    finally:
        try:
            loop.run_until_complete(_end_tasks())
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            asyncio.set_event_loop(None)
            loop.close()


async def _end_tasks() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if not tasks:
        return
    ended, stubborn = await asyncio.wait(tasks, timeout=END_WITHIN)
    for task in ended:
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a task that was left behind raised %s", type(error).__name__)
    for task in stubborn:
        logger.error("the task %s ignores that it is cancelled, and is left behind", task.get_name())
