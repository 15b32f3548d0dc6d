"""Functions for `test_child_runs`, imported by children."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from redqueue import INJECTED, BaseProcessor, Discard, JobContext, Retry, Snooze
from redqueue.registry.binding import Portable
from redqueue.registry.resources import bind_resources
from redqueue.worker.executors.process import Children, ChildRun


class Broken(ValueError):
    """Raised by jobs."""


class Opened:
    """What a resource yields."""


class OpenedAsync:
    """What an async resource yields."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop


def opened() -> Iterator[Opened]:
    with Path(os.environ["OPENED"]).open("a") as file:
        file.write("open\n")
    yield Opened()
    with Path(os.environ["OPENED"]).open("a") as file:
        file.write("closed\n")


async def opened_async() -> AsyncIterator[OpenedAsync]:
    yield OpenedAsync(asyncio.get_running_loop())


RESOURCES = bind_resources([opened, opened_async])


def echo(data: Any) -> Any:
    print("a job may print")
    return data


def pid(data: Any) -> int:
    return os.getpid()


async def pid_async(data: Any, one: Opened = INJECTED, two: OpenedAsync = INJECTED) -> int:
    assert isinstance(one, Opened) and two.loop is asyncio.get_running_loop()
    return os.getpid()


def environment(data: str) -> dict[str, Any]:
    return {
        "sigint": signal.getsignal(signal.SIGINT) == signal.SIG_IGN,
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "sockets": [str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()],
        "redis": "redis" in sys.modules,
    }


def fail(data: str) -> None:
    raise Broken(data)


def steer(data: str) -> object:
    match data:
        case "snooze":
            raise Snooze(5, "not now")
        case "retry":
            raise Retry(2)
        case "discard":
            raise Discard("never")
        case "exit":
            sys.exit(3)
        case "interrupt":
            raise KeyboardInterrupt
        case _:
            return object()


async def exit_async(data: Any) -> None:
    sys.exit(3)


def typed(data: int) -> int:
    return data


def facts(data: Any, context: JobContext) -> list[Any]:
    assert JobContext.current() is context
    return [
        context.queue,
        context.job_id,
        context.attempt,
        context.retries,
        context.fence,
        context.label,
        context.user_id,
        dict(context.given),
        context.restored,
        context.cancelled,
    ]


def tell(data: Any, context: JobContext) -> None:
    context.checkpoint({"n": 1}).wait(20)
    context.log("line").wait(20)
    context.progress(0.5, "half").wait(20)


async def tell_async(data: Any, context: JobContext) -> None:
    await context.checkpoint({"n": 1})
    await asyncio.gather(context.log("line"), context.progress(0.5, "half"))


def tell_impatiently(data: Any, context: JobContext) -> str:
    receipt = context.checkpoint(1)
    try:
        receipt.wait(0.05)
    except TimeoutError:
        context.log("impatient")
        receipt.wait(20)
        return "late"
    return "soon"


def tell_often(data: int, context: JobContext) -> float:
    started = time.monotonic()
    for n in range(data):
        context.progress(n / data)
    return time.monotonic() - started


def tell_and_wait(data: Any, context: JobContext) -> None:
    context.progress(0.1)
    context.progress(0.2)
    while not context.cancelled:
        time.sleep(0.01)


def tell_when_over(data: Any, context: JobContext) -> None:
    def late() -> None:
        done.wait()
        context.log("late")

    done = threading.Event()
    threading.Thread(target=late, daemon=True).start()
    LATE.append(done)


def tell_others_tale(data: Any, context: JobContext) -> None:
    LATE.pop().set()
    context.log("mine").wait(20)


LATE: list[threading.Event] = []


def die(data: str) -> None:
    if data == "exit":
        os._exit(7)
    os.kill(os.getpid(), signal.SIGSEGV)
    time.sleep(60)


def die_with_a_child_of_its_own(data: str) -> None:
    """The grandchild holds all pipes that the child had."""
    if os.fork() == 0:
        Path(data).write_text(str(os.getpid()))
        time.sleep(60)
    while not Path(data).exists():
        time.sleep(0.01)
    os._exit(7)


def sleep(data: str) -> None:
    try:
        Path(data).write_text(str(os.getpid()))
        time.sleep(60)
    finally:
        Path(data + ".ended").touch()


def chatter(data: str, context: JobContext) -> None:
    """Ended in the middle of a message, it would send half of it."""
    try:
        Path(data).touch()
        while True:
            context.log("x" * 4000)
    finally:
        Path(data + ".ended").touch()


def touch(path: str) -> None:
    Path(path).touch()


async def sleep_async(data: str) -> None:
    try:
        touch(data)
        await asyncio.sleep(60)
    finally:
        touch(data + ".ended")


async def block_async(data: str) -> None:
    """A coroutine that blocks its loop, so that it can't be cancelled."""
    sleep(data)


async def count_cancels(data: str) -> int:
    cancels = 0
    touch(data)
    for _ in range(2):
        try:
            await asyncio.sleep(0.5)
        except asyncio.CancelledError:
            cancels += 1
    return cancels


def hold_gil(data: str) -> None:
    Path(data).touch()
    ctypes.PyDLL(None).sleep(60)


def grow(data: int) -> int:
    GROWN.append(b"x" * data)
    return os.getpid()


GROWN: list[bytes] = []


class WithParts(BaseProcessor[str, None]):
    """Says when its job has failed for good."""

    def process(self, data: str, context: JobContext) -> None:
        raise Broken(data)

    def on_failed(self, data: str, error: Exception, context: JobContext) -> None:
        Path(data).write_text(type(error).__name__)


def children(**limits: int) -> Children:
    functions = [
        thing for thing in globals().values() if callable(thing) and getattr(thing, "__module__", "") == __name__
    ]
    portables = {
        function.__name__: Portable("processor", function.__name__, function, None, ())
        for function in functions
        if not isinstance(function, type) and function not in (opened, opened_async, children, orphan)
    }
    portables["strict"] = Portable("processor", "strict", fail, (KeyError,), ())
    portables["giving-up"] = Portable("processor", "giving-up", fail, None, (Broken,))
    portables["parts"] = Portable("processor", "parts", WithParts(), None, ())
    return Children(portables, RESOURCES, **limits)


def orphan(path: str) -> None:
    """Carry a job until killed; the main function of a worker whose children are to end with it."""
    from .test_child_runs import Notes, assignment

    children().carry(ChildRun(assignment("sleep", path), Notes()))
