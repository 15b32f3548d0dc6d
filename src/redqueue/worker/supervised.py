"""The line between a worker process and the supervisor that started it.

The worker tells who it is, so that its jobs can be taken back at once when it dies. The supervisor tells nothing: that
its end closes, as the kernel sees to also after a kill -9, is the word to stop.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import MutableMapping, Sequence
from typing import Final, Self

import msgspec

from redqueue.errors import ConfigurationError

VARIABLE: Final = "REDQUEUE_SUPERVISOR"
"""Names the line's file descriptor. The worker takes it out of its environment: what it starts is not supervised."""

OVER_GRACE: Final = 10.0
"""Seconds that a worker has beyond its grace to end."""

ORPHANED: Final = 1
"""The exit code of a worker that did not stop in time after its supervisor was gone. Nobody reads it."""

logger = logging.getLogger("redqueue.supervisor")


class Entered(msgspec.Struct, frozen=True):
    """What a worker process tells once it has entered its queues, as a line of JSON."""

    session: str
    queues: list[str]
    prefix: str
    url: str


class Line:
    """The worker's end."""

    def __init__(self, end: socket.socket) -> None:
        end.set_inheritable(False)
        self._end = end
        self._has_told = False

    @classmethod
    def from_env(cls, environ: MutableMapping[str, str]) -> Self | None:
        """The line to this process's supervisor, or None when it has none.

        Raises:
            ConfigurationError: the variable was set by somebody else.
        """
        number = environ.pop(VARIABLE, "")
        if not number:
            return None
        try:
            return cls(socket.socket(fileno=int(number)))
        except (ValueError, OSError):
            raise ConfigurationError(f"{VARIABLE} is not for you to set: unset it") from None

    def tell(self, session: str, queues: Sequence[str], prefix: str, url: str) -> None:
        """Say who works here; only the first call is heard."""
        if self._has_told:
            return
        self._has_told = True
        with contextlib.suppress(OSError):  # the supervisor is gone, which `watch` sees, too
            self._end.sendall(msgspec.json.encode(Entered(session, list(queues), prefix, url)) + b"\n")

    def watch(self, grace: float) -> None:
        """Stop this process as SIGTERM does when the supervisor is gone; in a thread, from now on.

        Args:
            grace: seconds that running jobs have. 10 s after them the process is ended, whatever it does.
        """
        threading.Thread(target=self._watch, args=(grace,), name="redqueue-supervised", daemon=True).start()

    def _watch(self, grace: float) -> None:
        with contextlib.suppress(OSError):
            while self._end.recv(64):
                pass
        logger.warning("the supervisor is gone, so this worker stops")
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(grace + OVER_GRACE)
        os._exit(ORPHANED)
