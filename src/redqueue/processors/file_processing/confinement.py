"""What keeps one job within bounds: a child process, a limit on its memory, and a folder that nobody else has."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import resource
import shutil
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

CHILD: Final = "redqueue-child"
"""The name of the worker's child processes."""
PREFIX: Final = "redqueue-files-"
YOUNG: Final = 60.0
"""Seconds in which a folder's owner surely has locked it."""


def in_child() -> bool:
    """Whether this is the main thread of a worker's child process, which runs one job at a time and can be killed."""
    return multiprocessing.current_process().name == CHILD and threading.current_thread() is threading.main_thread()


@contextmanager
def memory_limit(extra: int) -> Iterator[None]:
    """Let this process take so many bytes more than it has, and then have MemoryError. Only Linux keeps such limits."""
    if not sys.platform.startswith("linux"):
        yield
        return
    before, most = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    limits = [pages * resource.getpagesize() + extra, before, most]
    resource.setrlimit(resource.RLIMIT_AS, (min(limit for limit in limits if limit != resource.RLIM_INFINITY), most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (before, most))


@contextmanager
def work_folder() -> Iterator[Path]:
    """A folder for one job, gone afterwards. What killed processes left is removed by the next job on the machine."""
    _remove_abandoned()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # it ends with this process, whatever ends that
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _remove_abandoned() -> None:
    with os.scandir(tempfile.gettempdir()) as entries:
        for entry in entries:
            if entry.name.startswith(PREFIX):
                with suppress(OSError):
                    _remove_if_abandoned(entry.path)


def _remove_if_abandoned(path: str) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(folder)
        if found.st_uid != os.geteuid() or not stat.S_ISDIR(found.st_mode):
            return
        if found.st_ctime > time.time() - YOUNG:
            return
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)  # BlockingIOError: a job works there
        shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(folder)
