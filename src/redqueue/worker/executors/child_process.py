"""One child process as the worker holds it: started, heard, killed and buried."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext, ForkServerProcess, SpawnContext, SpawnProcess
from typing import Final, TypeAlias

import msgspec

from redqueue.registry.binding import Portable
from redqueue.registry.resources import Resource
from redqueue.worker.executors.child import serve
from redqueue.worker.executors.pipe import Leave, ToChild, ToWorker, Unread, encode

GONE_WITHIN: Final = 1.0
"""Seconds for a child that has closed its pipe, to be gone."""
BURY_WITHIN: Final = 5.0
"""Seconds for a child that was killed, to be gone."""

_READ_AT_ONCE: Final = 64 * 1024
_UNTIL_IT_SERVES: Final = frozenset({signal.SIGINT, signal.SIGTERM})
"""Signals that a child is started without: Ctrl-C, or a shutdown, would end it under the job that waits for it."""

_Context: TypeAlias = SpawnContext | ForkServerContext
_processes: Final = threading.Lock()
"""Whoever starts a process also looks after all others of this one; multiprocessing does so without a lock."""


class ChildDied(Exception):
    """The child ended under its job, or none could be started; the message says how.

    Attributes:
        begun: whether the job had reached it.
    """

    def __init__(self, message: str, *, begun: bool = False) -> None:
        super().__init__(message)
        self.begun = begun


class ChildNotStarted(ChildDied):
    """The system gives no process, pipe or memory for a child now. The job is not to blame, and can wait."""


class ChildProcess:
    """One child, and the worker's ends of the pipes to it. It is its owner's; others only `kill` and `wake` it.

    Args:
        log_format: the child logs like ``python -m redqueue.worker``, in this format; None: it sets up no log.

    Raises:
        ChildNotStarted: a limit of the system is reached.
        ChildDied: it can't ever be started.
    """

    def __init__(
        self, portables: Mapping[str, Portable], resources: tuple[Resource, ...], log_format: str | None = None
    ) -> None:
        self.jobs = 0
        self.ready = False
        self._unread = Unread()
        self._process: SpawnProcess | ForkServerProcess
        context = _start_context()
        try:
            with ExitStack() as undo:
                self._pipe, far = context.Pipe()
                undo.enter_context(self._pipe)
                with far:
                    self._woken, self._waker = os.pipe()
                    undo.callback(os.close, self._woken)
                    undo.callback(os.close, self._waker)
                    os.set_blocking(self._waker, False)
                    self._process = context.Process(
                        target=serve, args=(far, portables, resources, log_format), name="redqueue-child"
                    )
                    _start(self._process, context)
                undo.pop_all()
        except Exception as error:
            # The fork server says EOF when it has none to give.
            cause = ChildNotStarted if isinstance(error, OSError | EOFError) else ChildDied
            raise cause(f"no child process could be started: {type(error).__name__}: {error}") from error

    def is_alive(self) -> bool:
        """Whether it can take a job: once it is ready an idle child says nothing, so what can be read is its end."""
        return self._exit_code() is None and not (self.ready and (self._unread or self._pipe.poll(0)))

    def send(self, message: ToChild) -> None:
        """Raises ChildDied when it is not there any more."""
        try:
            self._pipe.send_bytes(encode(message))
        except OSError:
            raise self.died() from None

    def send_leave(self) -> None:
        """Ask it to end."""
        with suppress(OSError):
            self._pipe.send_bytes(encode(Leave()))

    def hear(self, seconds: float) -> ToWorker | None:
        """The next message; None when not all of it is there yet, or somebody called `wake`.

        Raises:
            ChildDied: it ended, or said what no child says.
        """
        message = self._take()
        if message is not None:
            return message
        found = wait([self._pipe, self._process.sentinel, self._woken], seconds)
        if self._woken in found:
            os.read(self._woken, 4096)
        if self._pipe in found:
            self._read()
            return self._take()
        if self._process.sentinel in found or (not found and self._exit_code() is not None):
            raise self.died()
        return None

    def _read(self) -> None:
        """What the pipe has, and no more: the rest of a message may never come, though others hold the pipe open."""
        try:
            more = os.read(self._pipe.fileno(), _READ_AT_ONCE)
        except OSError:
            more = b""
        if not more:
            raise self.died()
        self._unread.add(more)

    def _take(self) -> ToWorker | None:
        try:
            return self._unread.take()
        except msgspec.DecodeError:
            raise self.died() from None

    def wake(self) -> None:
        """End a `hear`."""
        with suppress(BlockingIOError):
            os.write(self._waker, b".")

    def kill(self) -> None:
        """End it, whatever it does."""
        with suppress(ValueError):  # it is closed
            self._process.kill()

    def died(self) -> ChildDied:
        """How it ended. It has closed its pipe, so it does; and who wrote nonsense to it, is ended."""
        code = self.reap(GONE_WITHIN)
        if code is None:
            self.kill()
            self.reap(BURY_WITHIN)
            return ChildDied("the child process closed or misused its pipe to the worker, and was killed")
        if code < 0:
            return ChildDied(f"the child process was ended by {_signal_name(-code)}")
        return ChildDied(f"the child process ended with exit code {code}")

    def reap(self, seconds: float) -> int | None:
        """Its exit code, once it has ended; None: it hasn't."""
        until = time.monotonic() + seconds
        while (code := self._exit_code()) is None and (left := until - time.monotonic()) > 0:
            if wait([self._process.sentinel], min(left, 0.1)):
                time.sleep(0.001)  # it is about to be one that can be waited for
        return code

    def close(self) -> None:
        """Of a child that has ended."""
        self._close_pipes()
        with _processes, suppress(ValueError):  # not even killing it helped
            self._process.close()

    def _exit_code(self) -> int | None:
        with _processes:
            return self._process.exitcode

    def _close_pipes(self) -> None:
        self._pipe.close()
        os.close(self._woken)
        os.close(self._waker)


def _start_context() -> _Context:
    """The start method that the program chose, unless it is fork, which would copy the worker's threads and sockets."""
    if multiprocessing.get_start_method(allow_none=True) == "forkserver":
        return multiprocessing.get_context("forkserver")
    return multiprocessing.get_context("spawn")


def _start(process: SpawnProcess | ForkServerProcess, context: _Context) -> None:
    with _processes:
        if not isinstance(context, SpawnContext):
            process.start()
            return
        resource_tracker.ensure_running()  # it would be started with the mask, and undo it
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _UNTIL_IT_SERVES)
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
