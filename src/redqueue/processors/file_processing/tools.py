"""ffmpeg and ffprobe as processes of their own: bounded, and gone with the job."""

from __future__ import annotations

import os
import selectors
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.spawn import get_executable
from pathlib import Path
from typing import IO, Final

from redqueue.context import JobContext
from redqueue.errors import ConfigurationError, Discard
from redqueue.processors.file_processing import launch
from redqueue.processors.file_processing.bench import Bench

LOOK_EVERY: Final = 0.2
"""Seconds between two looks whether the job should stop."""
LONGEST_OUTPUT: Final = 2**20
LONGEST_REASON: Final = 200
SECONDS_OF_CPU: Final = 86_400

_LAUNCH: Final = str(Path(launch.__file__))


def run_tool(command: Sequence[str], bench: Bench, on_line: Callable[[str], None]) -> None:
    """Run a program until it ends; its lines are handed over as they come.

    Raises:
        Discard: it failed, with its last words.
        ConfigurationError: there is no such program on PATH.
        JobCancelled: the job was told to stop, and the program is killed.
    """
    program = shutil.which(command[0])
    if program is None:
        raise ConfigurationError(f"{command[0]} is not on the PATH of this worker: install ffmpeg for video and audio")
    errors = bench.folder / "errors"
    with errors.open("wb") as stderr, _started([program, *command[1:]], bench, stderr) as process:
        assert process.stdout is not None
        for line in _lines(process.stdout, bench.context):
            on_line(line)
        code = process.wait()
    if code:
        raise Discard(f"{command[0]} {_ending(code)}: {_last_words(errors, bench.folder)}")


@contextmanager
def _started(command: list[str], bench: Bench, stderr: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    # A run is ended by SIGTERM: not before its process is known, and so can be killed.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        process = _open(command, bench, stderr)
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            yield process
        finally:
            if process.poll() is None:  # once it was waited for, its id may be another one's
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            if process.stdout is not None:
                process.stdout.close()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _open(command: list[str], bench: Bench, stderr: IO[bytes]) -> subprocess.Popen[bytes]:
    python = os.fsdecode(get_executable() or "")  # where Python is embedded, sys.executable is another program
    bounds = launch.limits_text(bench.limits.tool_memory, bench.limits.output, SECONDS_OF_CPU)
    return subprocess.Popen(  # noqa: S603 - the program is found on PATH, and no argument is a job's
        [python, "-I", "-S", _LAUNCH, str(os.getpid()), bounds, *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        cwd=bench.folder,
        env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "HOME": str(bench.folder)},
        process_group=0,
    )


def _lines(stdout: IO[bytes], context: JobContext) -> Iterator[str]:
    """Each line; now and then it is looked whether the job should stop."""
    with selectors.DefaultSelector() as selector:
        selector.register(stdout, selectors.EVENT_READ)
        rest = b""
        while True:
            context.raise_if_cancelled()
            if not selector.select(LOOK_EVERY):
                continue
            if not (data := os.read(stdout.fileno(), 65_536)):
                break
            *lines, rest = (rest + data).split(b"\n")
            if len(rest) > LONGEST_OUTPUT:
                raise Discard("the program says more than it should")
            for line in lines:
                yield line.decode("utf-8", "replace")
    if rest:
        yield rest.decode("utf-8", "replace")


def _ending(code: int) -> str:
    if code > 0:
        return f"failed with exit code {code}"
    if -code == signal.SIGXFSZ:
        return "failed: its output is too large"
    return f"was ended by {signal.Signals(-code).name}"


def _last_words(errors: Path, folder: Path) -> str:
    """The last thing that it said, without paths of the machine."""
    with errors.open("rb") as file:
        file.seek(max(0, errors.stat().st_size - 4_096))
        text = file.read().decode("utf-8", "replace").replace(f"file:{folder}/", "")
    lines = [line for line in text.splitlines() if line.strip()] or ["it said nothing"]
    return "".join(character for character in lines[-1] if character.isprintable())[:LONGEST_REASON]
