"""What a run tells of itself while it goes on: progress, log lines, checkpoints. Checked and encoded at once."""

from __future__ import annotations

import math
from typing import Final, Literal, TypeAlias

import msgspec

from redqueue.core.bombs import READ_DEPTH, bomb_in
from redqueue.core.codec import encode_json
from redqueue.defaults import MAX_LOG_LINE, MAX_PAYLOAD, MAX_PROGRESS_DATA, MAX_PROGRESS_MESSAGE
from redqueue.errors import InvalidOption, PayloadNotSerializable, PayloadTooLarge
from redqueue.units import shown

Kind: TypeAlias = Literal["p", "l", "s"]
"""Progress and state: the latest wins. Lines are all kept."""

PROGRESS: Final[Kind] = "p"
LINE: Final[Kind] = "l"
STATE: Final[Kind] = "s"


class Progress(msgspec.Struct, frozen=True, array_like=True):
    """How far a run is, as it is stored."""

    done: float | None
    message: str | None
    data: msgspec.Raw = msgspec.Raw(b"null")


def progress_text(done: object, message: object, data: object) -> bytes:
    """Progress, ready to be sent.

    Raises:
        InvalidOption: `done` is not from 0 to 1, or `message` is no text.
        PayloadTooLarge: the message is longer than 1 KiB, or the data longer than 4 KiB.
        PayloadNotSerializable: the data is not JSON, or nested deeper than can be read.
    """
    if done is not None and (
        isinstance(done, bool) or not isinstance(done, int | float) or not math.isfinite(done) or not 0 <= done <= 1
    ):
        raise InvalidOption("done", f"done must be a number from 0 to 1, or None, not {shown(done)}")
    if message is not None and not isinstance(message, str):
        raise InvalidOption("message", f"message must be text, or None, not {shown(message)}")
    told = None if message is None else _clean(message)
    _bound("the progress message", (told or "").encode(), MAX_PROGRESS_MESSAGE)
    encoded = b"null" if data is None else encode_json(data)
    _bound("the progress data", encoded, MAX_PROGRESS_DATA)
    _refuse_unreadable("the progress data", encoded, READ_DEPTH - 1)  # it is stored within an array
    return msgspec.json.encode(Progress(done, told, msgspec.Raw(encoded)))


def line_text(line: object) -> bytes:
    """A line of a job's log, ready to be sent: at most 4 KiB, cut where it is longer.

    Raises:
        InvalidOption: it is no text.
    """
    if not isinstance(line, str):
        raise InvalidOption("line", f"line must be text, not {shown(line)}")
    encoded = _clean(line[:MAX_LOG_LINE]).encode()
    if len(encoded) > MAX_LOG_LINE or len(line) > MAX_LOG_LINE:
        encoded = encoded[: MAX_LOG_LINE - 20].decode("utf-8", "ignore").encode() + b" ... (cut)"
    return encoded


def state_text(state: object) -> bytes:
    """A checkpoint, ready to be sent.

    Raises:
        PayloadTooLarge: more than 1 MiB.
        PayloadNotSerializable: it is not JSON, or nested deeper than can be read.
    """
    encoded = encode_json(state)
    _bound("the checkpoint", encoded, MAX_PAYLOAD)
    _refuse_unreadable("the checkpoint", encoded, READ_DEPTH)
    return encoded


def _clean(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _refuse_unreadable(what: str, encoded: bytes, most: int) -> None:
    if problem := bomb_in(encoded, most):
        raise PayloadNotSerializable(f"{what} is {problem}")


def _bound(what: str, encoded: bytes, limit: int) -> None:
    if len(encoded) > limit:
        size = len(encoded)
        raise PayloadTooLarge(f"{what} is {size:,} bytes, more than {limit:,}", size=size, limit=limit)
