"""The worker as its child sees it: who is told what the runs become, and whom the child doesn't outlive."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import threading
from contextlib import suppress
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from typing import NoReturn

from redqueue.worker.executors.pipe import ToWorker, write


class Line:
    """The child's end of the pipe, for sending: from any thread, a message at a time."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()

    def send(self, message: ToWorker) -> None:
        """Send it; with nobody at the other end, the process ends."""
        with self._lock:
            try:
                write(self._pipe.fileno(), message)
            except OSError:
                end_now()


def end_with_worker() -> None:
    """Let the kernel kill this process when the worker ends: a call that holds the interpreter lets no thread see it.

    On Linux only. Not before the worker was heard: what it still wrote to the watched pipe would be taken for its end.
    """
    worker = parent_process()
    if sys.platform != "linux" or worker is None:
        return
    # Of this pipe the worker has the only other end. PR_SET_PDEATHSIG looks at the wrong one: at the thread that
    # started this process, or at the fork server.
    end = worker.sentinel
    with suppress(OSError):  # a sandbox that knows none of it
        fcntl.fcntl(end, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(end, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(end, fcntl.F_SETFL, fcntl.fcntl(end, fcntl.F_GETFL) | os.O_ASYNC)
    if wait([end], 0):  # it ended before that
        end_now()


def end_now() -> NoReturn:
    """End this process, whatever its threads do."""
    os._exit(1)
