"""The module of the workers under test. What ran is written to an append-only file outside of Redis."""

import asyncio
import ctypes
import os
import time
from pathlib import Path

from redqueue import Retry, ServiceRegistry

registry = ServiceRegistry()


def note(event: str, what: object) -> None:
    """One line, whole even when several processes write."""
    line = f"{event} {what} {os.getpid()} {time.monotonic():.3f}\n"
    with Path(os.environ["LEDGER"]).open("ab", buffering=0) as ledger:
        ledger.write(line.encode())


@registry.processor("ledger")
async def ledger(data: dict[str, float]) -> None:
    """Note the start, take a while, note the end."""
    note("start", int(data["n"]))
    await asyncio.sleep(data.get("seconds", 0))
    note("end", int(data["n"]))


@registry.processor("blocking")
async def blocking(data: dict[str, float]) -> None:
    """Hold the event loop, as a careless processor does."""
    note("start", int(data["n"]))
    time.sleep(data["seconds"])  # noqa: ASYNC251 - the point
    note("end", int(data["n"]))


@registry.processor("poison")
async def poison(data: dict[str, float]) -> None:
    """End the worker under it."""
    note("start", int(data["n"]))
    os.kill(os.getpid(), 9)


@registry.processor("flaky")
async def flaky(data: dict[str, float]) -> None:
    """Fail the first time."""
    note("start", int(data["n"]))
    marker = Path(os.environ["LEDGER"]).with_suffix(f".{int(data['n'])}")
    if not marker.exists():
        marker.touch()
        raise Retry(after=0.05)
    note("end", int(data["n"]))


@registry.processor("seizing")
async def seizing(data: dict[str, float]) -> int:
    """The first time, hold the interpreter, and so the heartbeat's thread, as an extension may do."""
    note("start", int(data["n"]))
    marker = Path(os.environ["LEDGER"]).with_suffix(f".{int(data['n'])}")
    if not marker.exists():
        marker.touch()
        ctypes.PyDLL(None).usleep(int(data["seconds"] * 1e6))
    note("end", int(data["n"]))
    return os.getpid()
