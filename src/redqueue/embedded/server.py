"""The shared server: one for each data folder, started on first need, alive until it is stopped.

Two locks decide everything. The one in `Place.lock` lets one process at a time start or stop. The other, `Place.life`,
is inherited by the server, so that the kernel tells whether it lives, whatever became of its socket and pid file: two
servers on one append-only file would destroy it. No lock or server is remembered in this process, so threads and
forked children need no care.
"""

from __future__ import annotations

import subprocess
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from redqueue.embedded import binary, locks, wire
from redqueue.embedded.place import Place
from redqueue.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Longer than the longest start, so that a waiting process sees its end.
LOCK_TIMEOUT = wire.LOADING_TIMEOUT + 15.0
LOG_LINES = 10


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """A running server.

    Attributes:
        version: its kind and number, as in ``valkey 9.1.2``.
        used_memory: bytes.
        uptime: seconds.
    """

    pid: int
    version: str
    socket: Path
    folder: Path
    used_memory: int
    uptime: int


def ensure(folder: str | Path | None = None) -> str:
    """The URL of the folder's server, which is started when it does not run.

    Safe from many processes and threads at once: one server results. What was written is on disk within a second
    (AOF, everysec), and is there again after a crash of the server or a restart.

    Args:
        folder: where its data are kept; by default $REDQUEUE_EMBEDDED_DIR, else the user's data folder for redqueue.
            Created when missing, for this user only.
    Raises:
        MissingExtra: no server program was found.
        ConfigurationError: it did not start (with the last lines of its log), or the folder can't be used.
    Cost: one connection and one PING, 0.1 ms, when it runs; about 30 ms when it has to be started, and as long as it
        takes to read its data, at most 60 s.
    """
    place = Place.of(folder)
    with _explained(place):
        place.check()
        if wire.ping(place.socket) is not wire.Answer.UP:
            place.create()
            with locks.locked(place.lock, timeout=LOCK_TIMEOUT):
                _bring_up(place)
    return place.url


def url(folder: str | Path | None = None) -> str:
    """The URL that the folder's server has when it runs. Asks and starts nothing."""
    return Place.of(folder).url


def status(folder: str | Path | None = None) -> ServerStatus | None:
    """What the folder's server says of itself, or None when none runs. Starts nothing.

    Raises:
        ConfigurationError: it runs and does not answer.
    Cost: one round trip.
    """
    place = Place.of(folder)
    with _explained(place):
        place.check()
        try:
            text = wire.ask(place.socket, "INFO")
        except (FileNotFoundError, ConnectionError):
            return None  # refused, or cut off because it is just ending
    return _read_status(text, place)


def stop(folder: str | Path | None = None, *, timeout: float = 10) -> bool:
    """End the folder's server after it wrote its data, and wait until it is gone. False when none ran.

    Args:
        timeout: seconds to wait for its end.
    Raises:
        ConfigurationError: it still lives after that time.
    """
    place = Place.of(folder)
    with _explained(place):
        if not place.life.exists():
            return False
        place.check()
        with locks.locked(place.lock, timeout=LOCK_TIMEOUT):
            if not locks.held(place.life):
                return False
            _shut_down(place, timeout)
    return True


def tail(log: Path, *, start: int = 0) -> str:
    """The last lines of a log, from that byte on, for an error's text."""
    try:
        lines = log.read_bytes()[start:].decode(errors="replace").splitlines()
    except OSError as error:
        return str(error)
    return "\n".join(lines[-LOG_LINES:]) or "it wrote nothing to its log"


def _bring_up(place: Place) -> None:
    place.log.touch(mode=0o600)
    start = place.log.stat().st_size
    launched = False
    try:
        for answer in wire.until_up(place.socket):
            if answer is wire.Answer.ABSENT and (life := locks.take(place.life)) is not None:
                if launched:
                    locks.drop(life)
                    raise ConfigurationError(f"the embedded server ended at once:\n{tail(place.log, start=start)}")
                _launch(place, life)
                launched = True
    except TimeoutError as error:
        raise ConfigurationError(
            f"the embedded server{_pid(place)} of {place.folder} does not answer on {place.socket}, {error};"
            f" end that process if it is stuck:\n{tail(place.log, start=start)}"
        ) from error


def _launch(place: Place, life: int) -> None:
    try:
        # Errors of its first steps, before it opens its log, go to its standard error: put them there too.
        with place.log.open("ab") as log:
            subprocess.run(  # noqa: S603
                _command(binary.find(), place),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=place.folder,
                env=binary.environment(),
                umask=0o077,
                pass_fds=(life,),
                check=False,
            )
    finally:
        locks.drop(life)


def _command(program: Path, place: Place) -> list[str]:
    options = {
        "port": "0",
        "unixsocket": str(place.socket),
        "unixsocketperm": "700",
        "dir": str(place.folder),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "yes",
        "pidfile": str(place.pid_file),
        "logfile": str(place.log),
    }
    return [str(program), *(word for name, value in options.items() for word in (f"--{name}", value))]


def _shut_down(place: Place, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    # Its answer is to close the connection. NOSAVE is about snapshots only: the append-only file is written out.
    with suppress(OSError):
        wire.ask(place.socket, "SHUTDOWN", "NOSAVE", timeout=timeout)
    while locks.held(place.life):
        if time.monotonic() > deadline:
            raise ConfigurationError(
                f"the embedded server{_pid(place)} of {place.folder} did not end within {timeout:g} s: end that process"
            )
        time.sleep(wire.POLL)


def _read_status(text: str, place: Place) -> ServerStatus:
    if text.startswith("-"):
        raise ConfigurationError(f"the embedded server of {place.folder} does not tell its status: {text[1:]}")
    facts = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    kind = "valkey" if "valkey_version" in facts else "redis"
    return ServerStatus(
        pid=int(facts["process_id"]),
        version=f"{kind} {facts[f'{kind}_version']}",
        socket=place.socket,
        folder=place.folder,
        used_memory=int(facts["used_memory"]),
        uptime=int(facts["uptime_in_seconds"]),
    )


def _pid(place: Place) -> str:
    try:
        return f" (process {int(place.pid_file.read_text())})"
    except (OSError, ValueError):
        return ""


@contextmanager
def _explained(place: Place) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigurationError(f"the embedded server in {place.folder} can't be used: {error}") from error
