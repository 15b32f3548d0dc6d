"""Data folders whose servers end with the test, and processes to watch."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from redqueue import embedded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def make_folder(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    made: list[Path] = []

    def make(name: str) -> Path:
        made.append(tmp_path / name)
        return made[-1]

    yield make
    for folder in made:
        embedded.stop(folder)


@pytest.fixture
def folder(make_folder: Callable[[str], Path]) -> Path:
    """A data folder that does not exist yet."""
    return make_folder("data")


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], bool]:
    """Waits until something is so that nobody announces, at most 5 s; False when it does not become so."""

    def wait(condition: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + 5
        while not (true := condition()) and time.monotonic() < deadline:
            time.sleep(0.005)
        return true

    return wait


@pytest.fixture
def gone(eventually: Callable[[Callable[[], bool]], bool]) -> Callable[[int], bool]:
    """Waits until a process has ended; False when it lives on."""
    return lambda pid: eventually(lambda: not _lives(pid))


@pytest.fixture
def killed(gone: Callable[[int], bool]) -> Callable[[int], None]:
    """Ends a process with SIGKILL and waits until it is gone."""

    def kill(pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        assert gone(pid)

    return kill


@pytest.fixture
def python() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts Python with a script, its arguments and pipes; what still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(script: str, *arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-W", "error", "-c", script, *map(str, arguments)]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        with process:
            pass


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # Ended and not waited for by its new parent, as in a container whose first process does not.
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return True
