"""A program of its own, which binds itself and becomes another one: ``launch.py parent limits program arguments...``.

So no code runs between fork and exec in a process with threads. It imports nothing of redqueue's, and starts in 20 ms.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from contextlib import suppress
from typing import Final

PR_SET_PDEATHSIG: Final = 1  # prctl(2)
KINDS: Final = (resource.RLIMIT_AS, resource.RLIMIT_FSIZE, resource.RLIMIT_CPU, resource.RLIMIT_CORE)


def limits_text(memory: int, file_size: int, cpu: int) -> str:
    """The second argument: bytes, bytes, seconds."""
    return f"{memory},{file_size},{cpu},0"


def launch(parent: int, limits: str, command: list[str]) -> None:
    """Become the program, which ends with its parent (Linux) and has these limits."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return  # it was faster
    for kind, most in zip(KINDS, map(int, limits.split(",")), strict=True):
        hard = resource.getrlimit(kind)[1]
        bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
        with suppress(OSError, ValueError):  # macOS keeps no RLIMIT_AS
            resource.setrlimit(kind, (bound, bound))
    os.execv(command[0], command)  # noqa: S606 - what it is given by the worker; there is no shell


if __name__ == "__main__":
    launch(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
