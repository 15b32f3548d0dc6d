"""Several worker processes, kept alive: ``python -m redqueue.worker MODULE --processes N``.

The supervisor imports nothing of the user's and runs no job, so there is little that could end it. It starts the
processes, starts again what dies, and as it saw the process end it may say at once what other workers know only when
a lease is over: that the jobs which this process held are nobody's.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from math import inf
from time import monotonic, sleep
from typing import Final

import msgspec

from redqueue.client.patience import Patience
from redqueue.client.sync.runner import Runner
from redqueue.client.transport import Transport
from redqueue.client.urls import parse
from redqueue.core import lease
from redqueue.core.keys import Keys
from redqueue.defaults import MAX_CRASHES
from redqueue.errors import RedisError, RedisRefused
from redqueue.worker.pump import LANES
from redqueue.worker.supervised import OVER_GRACE, VARIABLE, Entered

OK: Final = 0
HOPELESS: Final = {2: "usage or registry", 3: "refused by Redis"}
"""Exit codes of a worker that would end in the same way when it was started again, if it had not begun to work. Else a
job may have ended it so."""

SHORT_LIFE: Final = 10.0
"""Seconds. What lives shorter is started again after a wait, but for the first time."""

LONGEST_WAIT: Final = 30.0
RELEASE_WITHIN: Final = 120.0
"""Seconds for which a dead process's jobs are tried to be released. By then its leases are over, with most settings."""

LAST_RELEASE_WITHIN: Final = 5.0
"""The same for processes that were killed when the supervisor was to stop: somebody waits for it."""

MOST_TOLD: Final = 16 * 1024 * 1024

logger = logging.getLogger("redqueue.supervisor")


def wait_before(short_lives: int) -> float:
    """Seconds before a process is started again, by how many in a row ended soon after their start."""
    return 0.0 if short_lives < 2 else min(LONGEST_WAIT, 2.0 ** (min(short_lives, 10) - 2))


class WorkerProcess:
    """One of the processes, and what takes its place when it dies.

    Attributes:
        due: when it is started next, by the monotonic clock; None when it runs, or is done for good.
    """

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name = name
        self.due: float | None = 0.0
        self.process: subprocess.Popen[bytes] | None = None
        self.line: socket.socket | None = None
        self._command = command
        self._heard = bytearray()
        self._began = 0.0
        self._short_lives = 0

    def start(self) -> socket.socket | None:
        """Start the process; the line to it, or None when the system can't, which is tried again later."""
        self._began = monotonic()
        self._heard.clear()
        try:
            with contextlib.ExitStack() as undo:
                ours, theirs = socket.socketpair()
                undo.enter_context(ours)
                with theirs:
                    self.process = self._start(theirs.fileno())
                undo.pop_all()
        except OSError as error:
            self.due = monotonic() + self._rest()
            logger.error("%s can't be started: %s", self.name, error)
            return None
        ours.setblocking(False)
        self.due, self.line = None, ours
        logger.info("%s started: pid %d", self.name, self.process.pid)
        return ours

    def _start(self, line: int) -> subprocess.Popen[bytes]:
        environ = {**os.environ, VARIABLE: str(line)}
        environ.pop("REDQUEUE_PROCESSES", None)
        # A session of its own: Ctrl-C in a terminal would reach it beside the supervisor's signal, and count twice.
        return subprocess.Popen(  # noqa: S603 - this Python, and what the operator typed
            self._command, env=environ, pass_fds=[line], start_new_session=True
        )

    def hear(self) -> bool:
        """Read what the process tells; False when it tells nothing more."""
        assert self.line is not None
        try:
            while chunk := self.line.recv(65536):
                if len(self._heard) < MOST_TOLD:
                    self._heard += chunk
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    def has_entered(self) -> bool:
        """Whether the process told that it works; of one that has ended this is final."""
        if self.line is not None:
            self.hear()
        return b"\n" in self._heard

    def bury(self, code: int, *, again: bool) -> Entered | None:
        """Note the process's end; who it was, when it had entered its queues."""
        assert self.process is not None
        pid, lived = self.process.pid, monotonic() - self._began
        if self.line is not None:
            self.hear()
            self.line.close()
        self.process = self.line = None
        self._short_lives = self._short_lives + 1 if lived < SHORT_LIFE else 0
        how = f"{self.name}, pid {pid}, {_ended(code)} after {lived:.1f} s"
        if again:
            wait = wait_before(self._short_lives)
            self.due = monotonic() + wait
            logger.warning("%s; it is started again %s", how, f"in {wait:g} s" if wait else "at once")
        else:
            logger.log(logging.INFO if code == OK else logging.WARNING, "%s", how)
        return self._who()

    def signal(self, number: int) -> None:
        """Send a signal to the process, if it runs."""
        if self.process is not None:
            self.process.send_signal(number)

    def _rest(self) -> float:
        self._short_lives += 1
        return max(1.0, wait_before(self._short_lives))

    def _who(self) -> Entered | None:
        text, end, _ = self._heard.partition(b"\n")
        if not end:
            return None
        try:
            return msgspec.json.decode(text, type=Entered)
        except msgspec.DecodeError:
            logger.warning("%s did not tell what it works on; its jobs run again when their leases are over", self.name)
            return None


class Supervisor:
    """Starts worker processes and keeps them alive until it is told to stop.

    Args:
        command: of one worker, as a list.
        grace: seconds that a worker gives its running jobs; one that takes 10 s longer is killed.
        burst: a worker that ends in order is done.
    """

    def __init__(self, command: Sequence[str], count: int, *, grace: float, burst: bool) -> None:
        self._children = [WorkerProcess(f"process {n} of {count}", command) for n in range(1, count + 1)]
        self._within = grace + OVER_GRACE
        self._burst = burst
        self._selector = selectors.DefaultSelector()
        self._asked = 0
        self._code = OK
        self._stopping = False
        self._kill_at = inf
        self._releases: list[threading.Thread] = []
        self._give_up_at = inf

    def run(self) -> int:
        """Work until stopped, or a burst is done; the exit code. For the main thread: it takes the signals."""
        with self._signals():
            try:
                self._work()
            finally:
                for child in self._children:
                    if child.line is not None:
                        child.line.close()  # whatever ended this: a process whose line is closed stops
        self._give_up_at = monotonic() + LAST_RELEASE_WITHIN
        for release in self._releases:
            release.join(max(0.0, self._give_up_at - monotonic()))
        return self._code

    def _work(self) -> None:
        signals = 0
        while True:
            if self._asked > signals:
                signals = self._asked
                self._stop()
            self._start_due()
            self._reap()
            if monotonic() >= self._kill_at:
                self._kill()
            if all(child.process is None and child.due is None for child in self._children):
                return
            self._wait()

    def _start_due(self) -> None:
        for child in self._children:
            if child.due is not None and child.due <= monotonic():
                line = child.start()
                if line is not None:
                    self._selector.register(line, selectors.EVENT_READ, child)

    def _reap(self) -> None:
        for child in self._children:
            code = None if child.process is None else child.process.poll()
            if code is None:
                continue
            self._unlisten(child)
            hopeless, stopping = code in HOPELESS and not child.has_entered(), self._stopping
            told = child.bury(code, again=not (hopeless or stopping or (self._burst and code == OK)))
            if told is not None and code != OK:
                self._release(told)
            if hopeless and not stopping:
                logger.error("exit code %d, %s: starting it again would not help", code, HOPELESS[code])
                self._code = code
                self._stop()

    def _wait(self) -> None:
        """Until a process tells something or ends, a signal comes, or something is due."""
        due = min([self._kill_at, *(child.due for child in self._children if child.due is not None)])
        for key, _ in self._selector.select(None if due == inf else max(0.0, due - monotonic())):
            if isinstance(key.data, WorkerProcess) and not key.data.hear():
                self._unlisten(key.data)
            elif isinstance(key.data, socket.socket):
                key.data.recv(4096)

    def _unlisten(self, child: WorkerProcess) -> None:
        if child.line is not None and child.line.fileno() in self._selector.get_map():
            self._selector.unregister(child.line)

    def _stop(self) -> None:
        """Tell all processes to stop; the second time, to hurry."""
        if not self._stopping:
            self._stopping, self._kill_at = True, monotonic() + self._within
        for child in self._children:
            child.due = None
            # Not SIGINT, even if that came here: to a Python that just starts it is an exception with a traceback.
            child.signal(signal.SIGTERM)

    def _kill(self) -> None:
        for child in self._children:
            if child.process is not None:
                logger.error("%s has not ended within %g s, and is killed", child.name, self._within)
                child.signal(signal.SIGKILL)
        self._kill_at = inf

    def _release(self, told: Entered) -> None:
        self._releases = [release for release in self._releases if release.is_alive()]
        until = monotonic() + RELEASE_WITHIN
        release = threading.Thread(
            target=release_jobs,
            args=(told, lambda: monotonic() < min(until, self._give_up_at)),
            name="redqueue-release",
            daemon=True,
        )
        try:
            release.start()
        except RuntimeError as error:  # a limit of the system
            logger.error("a dead worker's jobs wait for their leases to end: %s", error)
        else:
            self._releases.append(release)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT stop, SIGCHLD only wakes; what handled them before does so again afterwards."""
        woken, waking = socket.socketpair()
        woken.setblocking(False)
        waking.setblocking(False)
        self._selector.register(woken, selectors.EVENT_READ, woken)
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)}
        fd = signal.set_wakeup_fd(waking.fileno(), warn_on_full_buffer=False)
        try:
            for number in before:
                signal.signal(number, self._take_signal)
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(fd)
            self._selector.close()
            woken.close()
            waking.close()

    def _take_signal(self, number: int, _: object) -> None:
        if number != signal.SIGCHLD:
            self._asked += 1


def release_jobs(told: Entered, go_on: Callable[[], bool]) -> None:
    """Take back what a dead worker held, in each of its queues; tried again as long as it may while Redis is away."""
    transport = Transport(parse(told.url))
    wait = 0.5
    left = list(told.queues)
    try:
        while left:
            runner = Runner(transport, Keys(left[0], told.prefix), Patience(unsent=1, sent=5))
            try:
                count = runner.run_steps(lease.expire_session(runner.keys, told.session, LANES, MAX_CRASHES))
                logger.info("queue %s: %d jobs of the worker that died were taken back", left.pop(0), count)
            except RedisRefused as error:
                logger.error("queue %s: a dead worker's jobs wait for their leases to end: %s", left.pop(0), error)
            except RedisError as error:
                if not go_on():
                    logger.error("a dead worker's jobs wait for their leases to end: %s", error)
                    return
                logger.warning("a dead worker's jobs can't be taken back yet: %s", error)
                sleep(wait)
                wait = min(wait * 2, 10.0)
    except Exception:
        logger.exception("a dead worker's jobs wait for their leases to end")
    finally:
        transport.close()


def _ended(code: int) -> str:
    """How a process ended, in words."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
