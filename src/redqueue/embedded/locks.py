"""Locks between processes, and descriptors that a forked child must not keep."""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

POLL = 0.01

_kept: set[int] = set()


def keep(fd: int) -> int:
    """Note a descriptor that means something by being open here, so that a forked child closes its copy."""
    _kept.add(fd)
    return fd


def drop(fd: int) -> None:
    """Close it; nothing when this is a forked child, whose copy is closed already and whose number may be reused.

    A lock on it stays with whoever was given the descriptor.
    """
    if fd in _kept:
        _kept.discard(fd)
        os.close(fd)


def take(path: Path) -> int | None:
    """A descriptor that holds the lock of that file, or None when another one does.

    A flock belongs to the open file, not to the process: two threads exclude each other as two processes do, and a
    child that is given the descriptor holds the lock on, until it ends in whatever way.
    """
    fd = keep(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600))
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        drop(fd)
        return None
    except BaseException:
        drop(fd)
        raise
    return fd


@contextmanager
def locked(path: Path, *, timeout: float) -> Iterator[None]:
    """Hold the lock of that file. Raises TimeoutError when others hold it for that many seconds."""
    deadline = time.monotonic() + timeout
    while (fd := take(path)) is None:
        # Not a blocking flock: that could not end when the holder hangs.
        if time.monotonic() > deadline:
            raise TimeoutError(f"another process has held {path} for {timeout:g} s")
        time.sleep(POLL)
    try:
        yield
    finally:
        _unlock(fd)


def held(path: Path) -> bool:
    """Whether anybody holds it. Ask only where nobody else can ask or take it at the same time."""
    fd = take(path)
    if fd is not None:
        _unlock(fd)
    return fd is None


def _unlock(fd: int) -> None:
    if fd in _kept:
        # Said aloud, as a child that was forked this moment may not have closed its copy yet.
        fcntl.flock(fd, fcntl.LOCK_UN)
        drop(fd)


def _close_in_child() -> None:
    for fd in _kept:
        os.close(fd)
    _kept.clear()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_close_in_child)
