"""An event loop of the worker's own. Unlike `asyncio.run` it ends, also when a job's task refuses to."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

END_WITHIN: Final = 2.0
"""Seconds for tasks that a worker leaves behind."""

logger = logging.getLogger("redqueue.worker")


def run_in_loop(
    main: Coroutine[Any, Any, None], loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
) -> None:
    """Run to the end; then cancel what is left, and wait for it no longer than 2 s.

    Jobs that call `asyncio.to_thread` do so in a pool of this loop's. Its threads that don't end keep the process
    alive, as Python's do: `threads_left_behind` tells.
    """
    loop = (loop_factory or asyncio.new_event_loop)()
    pool = ThreadPoolExecutor(thread_name_prefix="redqueue-to-thread")
    loop.set_default_executor(pool)
    try:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(main)
    finally:
        try:
            loop.run_until_complete(_end_tasks())
            loop.run_until_complete(loop.shutdown_asyncgens())
            _end_threads(pool)
        finally:
            asyncio.set_event_loop(None)
            loop.close()


def threads_left_behind() -> bool:
    """Whether a loop of this process has ended and threads of its pool go on, so that the interpreter can't end."""
    return any(ending.is_alive() for ending in _ENDING)


async def undisturbed(work: Coroutine[Any, Any, None]) -> None:
    """Do it to the end; what cancels it meanwhile, and however often, does so afterwards."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
    task.result()
    if cancelled is not None:
        raise cancelled


_ENDING: Final[list[threading.Thread]] = []


def _end_threads(pool: ThreadPoolExecutor) -> None:
    ending = threading.Thread(target=pool.shutdown, name="redqueue-pool-end", daemon=True)
    ending.start()
    ending.join(END_WITHIN)
    if ending.is_alive():
        _ENDING.append(ending)
        logger.error("threads of asyncio.to_thread did not end within %g s, and are left behind", END_WITHIN)


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
