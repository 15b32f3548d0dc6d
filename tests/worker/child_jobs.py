"""Functions for child processes, which import this module."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from redqueue import INJECTED, Discard, JobContext, Retry, ServiceRegistry, Snooze


class Opened:
    """What a resource yields."""

    def __init__(self) -> None:
        self.pid = os.getpid()


def opened() -> Iterator[Opened]:
    """A resource."""
    yield Opened()


def touch(name: str) -> None:
    Path(name).touch()


def echo(data: Any) -> Any:
    return data


def pid(data: Any, one: Opened = INJECTED) -> list[int]:
    return [os.getpid(), one.pid, id(one)]


def facts(data: None, context: JobContext) -> list[Any]:
    assert JobContext.current() is context
    return [context.job_id, context.attempt, context.fence > 0, context.label, context.deadline is not None]


def fail(data: str) -> None:
    raise ValueError(data)


def steer(data: str, context: JobContext) -> str:
    if data == "retry" and context.attempt == 1:
        raise Retry(0)
    if data == "snooze" and context.restored is None:
        context.checkpoint("snoozed").wait(10)
        raise Snooze(0)
    if data == "discard":
        raise Discard("no")
    if data == "exit":
        raise SystemExit(3)
    return data


def tell(data: None, context: JobContext) -> None:
    for n in range(1000):
        context.progress(n / 1000)
    context.log("one")
    context.progress(0.5, "half", {"n": 1}).wait(10)
    context.log("two").wait(10)


async def tell_async(data: None, context: JobContext) -> None:
    await context.checkpoint({"n": 1})
    await context.progress(0.25)
    context.log("three")


def die(data: str, context: JobContext) -> str:
    """Die at the first run, or always."""
    if data != "once" or not Path(context.idempotency_key.replace(":", "-")).exists():
        os.kill(os.getpid(), getattr(signal, data if data.startswith("SIG") else "SIGSEGV"))
        time.sleep(10)
    return "survived"


def sleep_until_cancelled(data: str, context: JobContext) -> None:
    try:
        touch(data)
        while True:
            context.raise_if_cancelled()
            time.sleep(0.01)
    finally:
        touch(data + ".ended")


def sleep_long(data: str) -> None:
    try:
        touch(data)
        time.sleep(60)
    finally:
        touch(data + ".ended")


async def sleep_async(data: str) -> None:
    try:
        touch(data)
        await asyncio.sleep(60)
    finally:
        touch(data + ".ended")


def hold_gil(data: str) -> None:
    """A call of C that never lets go of the interpreter."""
    touch(data)
    ctypes.PyDLL(None).sleep(60)


def registry_of_all() -> ServiceRegistry:
    """All of them, each by its name."""
    registry = ServiceRegistry()
    registry.resource(opened)
    every = (
        echo,
        pid,
        facts,
        fail,
        steer,
        tell,
        tell_async,
        die,
        sleep_until_cancelled,
        sleep_long,
        sleep_async,
        hold_gil,
    )
    for function in every:
        registry.register_processor(function.__name__.replace("_", "-"), function, execution="process")
    return registry
