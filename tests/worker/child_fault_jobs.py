"""Functions for `test_child_faults`, imported by children."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import multiprocessing
import os
import signal
import stat
import struct
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from redqueue import JobContext
from redqueue.registry.binding import Portable
from redqueue.worker.executors.process import Assignment, Children, ChildRun


def echo(data: Any) -> Any:
    return data


def touch(path: str) -> None:
    Path(path).touch()


async def tell_at_the_end(data: str, context: JobContext) -> None:
    """What is told while cleaning up."""
    try:
        touch(data)
        await asyncio.sleep(60)
    finally:
        context.log("cleaning up")
        context.progress(0.5)
        context.checkpoint("where it was")
        touch(data + ".ended")


def die_within_a_message(data: str) -> None:
    """Half a message is in the pipe, whose end a child's child holds open."""
    pid = os.fork()
    if pid == 0:
        time.sleep(60)
        os._exit(0)
    Path(data).write_text(str(pid))
    write_to_sockets(struct.pack("!I", 100_000) + b"x" * 500)
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def write_nonsense(data: Any) -> None:
    write_to_sockets(b"this is no message\n")
    time.sleep(60)


def write_to_sockets(text: bytes) -> None:
    for fd in (int(one.name) for one in list(Path("/dev/fd").iterdir())):  # it keeps the number that its parent gave it
        with suppress(OSError):
            if stat.S_ISSOCK(os.fstat(fd).st_mode):
                os.write(fd, text)


def hold_interpreter(data: str) -> None:
    """No thread of the process runs meanwhile."""
    Path(data + ".new").write_text(str(os.getpid()))
    Path(data + ".new").rename(data)
    ctypes.PyDLL(None).sleep(60)


def say(data: str) -> None:
    logging.getLogger("shop").info("%s", data)


FUNCTIONS = (echo, tell_at_the_end, die_within_a_message, write_nonsense, hold_interpreter, say)


def children(log_format: str | None = None) -> Children:
    """Children that run all of these."""
    portables = {
        function.__name__: Portable("processor", function.__name__, function, None, ()) for function in FUNCTIONS
    }
    return Children(portables, (), log_format)


def hold_interpreter_until_killed(start_method: str, assignment: Assignment) -> None:
    """The main function of a worker that is killed."""
    from .test_child_runs import Notes

    multiprocessing.set_start_method(start_method, force=True)
    children().carry(ChildRun(assignment, Notes()))
