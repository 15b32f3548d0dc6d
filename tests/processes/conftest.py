"""Workers as processes of their own, and what they wrote."""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

import pytest

from redqueue.embedded import PrivateServer

T = TypeVar("T")
HERE = Path(__file__).parent
GUARD = 30.0


class Line(NamedTuple):
    """One line of the ledger."""

    event: str
    n: int
    pid: int
    at: float


class Ledger:
    """What processors did, as they wrote it themselves."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def lines(self, event: str) -> list[Line]:
        if not self.path.exists():
            return []
        words = (line.split() for line in self.path.read_text().splitlines())
        return [Line(w[0], int(w[1]), int(w[2]), float(w[3])) for w in words if w[0] == event]

    def runs(self, event: str = "start") -> Counter[int]:
        """How often each job did that."""
        return Counter(line.n for line in self.lines(event))

    def wait_for(self, event: str, count: int) -> list[Line]:
        """The lines, once there are that many."""
        return until(lambda: lines if len(lines := self.lines(event)) >= count else None, f"{count} x {event}")


def until(look: Callable[[], T | None], what: str) -> T:
    """What another process makes true; there is no event to wait for across processes."""
    ends = time.monotonic() + GUARD
    while time.monotonic() < ends:
        if (found := look()) is not None:
            return found
        time.sleep(0.01)
    raise AssertionError(f"waited {GUARD:g} s for {what}")


class Workers:
    """Starts workers, and ends those that are left."""

    def __init__(self, url: str, ledger: Ledger, folder: Path) -> None:
        self._url = url
        self._ledger = ledger
        self._folder = folder
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, *arguments: str, url: str | None = None) -> subprocess.Popen[bytes]:
        """A worker of the module `ledger_jobs`; its log goes to a file."""
        command = [sys.executable, "-m", "redqueue.worker", "ledger_jobs:registry", "--app-dir", str(HERE)]
        log = (self._folder / f"worker-{len(self._running)}.log").open("wb")
        process = subprocess.Popen(
            [*command, "--url", url or self._url, *arguments],
            env={**os.environ, "LEDGER": str(self._ledger.path)},
            stdout=log,
            stderr=log,
        )
        log.close()
        self._running.append(process)
        return process

    def log(self, process: subprocess.Popen[bytes]) -> str:
        return (self._folder / f"worker-{self._running.index(process)}.log").read_text()

    def close(self) -> None:
        for process in self._running:
            if process.poll() is None:
                process.kill()
            process.wait(GUARD)


@pytest.fixture
def durable_server() -> Iterator[PrivateServer]:
    """A server that keeps what it acknowledged over a kill -9."""
    with PrivateServer(appendonly=True) as server:
        yield server


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")


@pytest.fixture
def workers(durable_server: PrivateServer, ledger: Ledger, tmp_path: Path) -> Iterator[Workers]:
    started = Workers(durable_server.url, ledger, tmp_path)
    yield started
    started.close()
