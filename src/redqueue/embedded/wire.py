"""One question to a server over its unix socket, without a client library."""

from __future__ import annotations

import enum
import socket
import time
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ANSWER_TIMEOUT = 1.0
START_TIMEOUT = 10.0
LOADING_TIMEOUT = 60.0
POLL = 0.005


class Answer(enum.Enum):
    """What a PING came to."""

    UP = "up"
    LOADING = "it reads its data"
    SILENT = "it accepts connections and does not answer"
    ABSENT = "nothing listens there"


def ask(path: Path, *words: str, timeout: float = ANSWER_TIMEOUT) -> str:
    """The answer to one command: a bulk string's text, or the line as it came, its sign included.

    Raises:
        OSError: not reached, closed without an answer, or (as TimeoutError) none in time.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        connection.connect(str(path))
        connection.sendall(_command(words))
        with connection.makefile("rb") as stream:
            return _reply(stream)


def ping(path: Path) -> Answer:
    """Whether a server answers there. Raises PermissionError when it is another user's."""
    try:
        reply = ask(path, "PING", timeout=ANSWER_TIMEOUT)
    except (FileNotFoundError, ConnectionRefusedError):
        return Answer.ABSENT
    except PermissionError:
        raise
    except OSError:
        # No answer in time, a full backlog, or a connection cut while it shuts down: somebody is there.
        return Answer.SILENT
    # Any other error (NOAUTH, BUSY, MISCONF, too many clients) is said by a server that is up.
    return Answer.LOADING if reply.startswith("-LOADING") else Answer.UP


def until_up(path: Path) -> Iterator[Answer]:
    """Each answer until it is UP, for the caller to see whether waiting still makes sense.

    Raises:
        TimeoutError: after 10 s, or after 60 s when it was seen to read its data.
    """
    began, patience = time.monotonic(), START_TIMEOUT
    while (answer := ping(path)) is not Answer.UP:
        yield answer
        if answer is Answer.LOADING:
            patience = LOADING_TIMEOUT
        if time.monotonic() - began > patience:
            raise TimeoutError(f"no PONG within {patience:g} s: {answer.value}")
        time.sleep(POLL)


def _command(words: tuple[str, ...]) -> bytes:
    encoded = [word.encode() for word in words]
    return b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded)


def _reply(stream: BinaryIO) -> str:
    line = stream.readline()
    if not line:
        raise ConnectionResetError("the server closed the connection without an answer")
    if line.startswith(b"$"):
        return stream.read(int(line[1:])).decode()
    return line.decode().rstrip()
