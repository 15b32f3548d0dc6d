"""A peer's two processes: the producer, which obeys lines, and the worker, which reports over a unix socket."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from benchmarks.harness.peers import PEERS

START_SECONDS: Final = 30
STOP_SECONDS: Final = 0.5
CORES: Final = sorted(os.sched_getaffinity(0))
SERVER_CORE: Final = CORES[0]
WORKER_CORE: Final = CORES[-1]


class Broken(Exception):
    """A peer's process ended, hung or said what it should not; the figure is recorded as failed."""


@contextlib.contextmanager
def pinned(core: int) -> Iterator[None]:
    """What is started meanwhile stays on that core, with all its threads."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Process:
    """One process of a peer, in a session of its own, so that its children end with it."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], core: int) -> None:
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        passed = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "BENCH_CONCURRENCY")}
        with pinned(core):
            self.popen = subprocess.Popen(
                command,
                env={**passed, "PYTHONPATH": str(PEERS), **environment},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.errors,
                start_new_session=True,
            )

    def close(self) -> None:
        """Kill it and its children, and wait."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()
        for pipe in (self.popen.stdin, self.popen.stdout, self.errors):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def broken(self, what: str) -> Broken:
        """That error, with the last line that the process wrote to stderr, without paths."""
        self.errors.seek(0)
        lines = [line for line in self.errors.read().decode(errors="replace").splitlines() if line.strip()]
        said = re.sub(r"(?<!\w)/[\w./-]+/", "", lines[-1])[:200] if lines else ""
        return Broken(f"{what}: {said}" if said else what)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Producer(Process):
    """Adds jobs as it is told."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], core: int) -> None:
        super().__init__([*command, "produce"], environment, core)

    def do(self, what: str, seconds: float, **more: float) -> dict[str, Any]:
        """Have it done, and return its answer. Raises Broken when that takes longer than `seconds`."""
        assert self.popen.stdin is not None
        assert self.popen.stdout is not None
        try:
            self.popen.stdin.write(json.dumps({"do": what, **more}).encode() + b"\n")
            self.popen.stdin.flush()
        except OSError as error:
            raise self.broken("the producer ended") from error
        answer = _read_line(self.popen.stdout.fileno(), time.monotonic() + seconds)
        if answer is None:
            raise self.broken(f"the producer did not answer {what} within {seconds:.0f} s")
        if not answer:
            raise self.broken("the producer ended")
        return _decode(answer)


class Worker(Process):
    """Runs jobs and counts them. Returns from construction when it is ready, which is before it claims its first."""

    def __init__(self, command: Sequence[str], flavour: str, environment: Mapping[str, str], core: int) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="bench-")
        self._line: socket.socket | None = None
        path = str(Path(self._folder.name) / "report")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen(1)
            listener.settimeout(START_SECONDS)
            super().__init__([*command, "worker", flavour], {**environment, "BENCH_REPORT": path}, core)
            try:
                self._line = self._accept(listener)
                self.hear(START_SECONDS)
            except BaseException:
                self.close()
                raise

    def _accept(self, listener: socket.socket) -> socket.socket:
        listener.settimeout(0.2)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(TimeoutError):
                return listener.accept()[0]
            if self.popen.poll() is not None:
                break
        raise self.broken("the worker did not start")

    def expect(self, jobs: int) -> None:
        """Let it run, and count that many."""
        self._say({"expect": jobs})

    def hear(self, seconds: float) -> dict[str, Any]:
        """What it reports next. Raises Broken when that takes longer."""
        assert self._line is not None
        answer = _read_line(self._line.fileno(), time.monotonic() + seconds)
        if answer is None:
            raise self.broken(f"the worker did not run all jobs within {seconds:.0f} s")
        if not answer:
            raise self.broken("the worker ended")
        return _decode(answer)

    def close(self) -> None:
        """Ask it to stop, kill it when it does not, and wait."""
        if self._line is not None:
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                self._say({"stop": True})
                self.popen.wait(STOP_SECONDS)
            self._line.close()
        super().close()
        self._folder.cleanup()

    def _say(self, command: dict[str, object]) -> None:
        assert self._line is not None
        self._line.sendall(json.dumps(command).encode() + b"\n")


def _read_line(number: int, deadline: float) -> bytes | None:
    """One line; what there was when the other side closes; None when it is too late."""
    found = b""
    while not found.endswith(b"\n"):
        ready, _, _ = select.select([number], [], [], max(0, deadline - time.monotonic()))
        if not ready:
            return None
        if not (more := os.read(number, 1 << 20)):
            return b""
        found += more
    return found


def _decode(line: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(line)
    except ValueError as error:
        raise Broken(f"not a line of JSON: {line[:100]!r}") from error
    if not isinstance(answer, dict):
        raise Broken(f"not an answer: {line[:100]!r}")
    return answer
