"""What the worker and its children tell each other: structs as msgpack, and never an object that could run code."""

from __future__ import annotations

import os
from struct import Struct
from typing import Final, Literal, TypeAlias, assert_never

import msgspec

from redqueue.context import JobFacts
from redqueue.core.lifecycle import Died, Interrupted, Outcome, Raised, Returned, Snoozed
from redqueue.core.report import Kind
from redqueue.defaults import MAX_PAYLOAD

MOST: Final = 2 * MAX_PAYLOAD
"""Bytes of a child's message: it tells at most one result, checkpoint or traceback at a time."""

_LENGTH: Final = Struct("!I")


class Begin(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Run this job; `cancelled`: it was told to stop already."""

    run: int
    key: str
    raw: bytes
    facts: JobFacts
    restored: bytes | None
    cancelled: bool


class Stop(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The run should end. `hard`: by an exception in the function, wherever it is."""

    run: int
    hard: bool


class Answer(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """To a `Wanted`: Redis has it, or `lost` says why it refused it."""

    run: int
    wanted: int
    lost: str | None


class Leave(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """No more jobs: close what is open and end."""


class Ready(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The child can take jobs."""


class Broken(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The child can't ever take a job."""

    why: str


class Begun(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The child has the job: whatever happens to it from here on happens under the job."""

    run: int


class Note(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The run tells something, encoded as Redis will have it."""

    run: int
    kind: Kind
    text: bytes


class Wanted(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Somebody waits until Redis has the last note of this kind, and so all before it."""

    run: int
    wanted: int
    kind: Kind


class Ended(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The run is over. `memory`: resident bytes of the child."""

    run: int
    word: Literal["returned", "raised", "snoozed", "interrupted"]
    data: bytes
    final: bool
    after_ms: int | None
    error_type: str
    told_to_stop: bool
    memory: int


ToChild: TypeAlias = Begin | Stop | Answer | Leave
ToWorker: TypeAlias = Ready | Broken | Begun | Note | Wanted | Ended

encode: Final = msgspec.msgpack.Encoder().encode
for_child: Final = msgspec.msgpack.Decoder(ToChild).decode
_for_worker: Final = msgspec.msgpack.Decoder(ToWorker).decode


def write(fd: int, message: ToWorker) -> None:
    """Write a message after its length, and block until the pipe has all of it.

    Raises:
        OSError: nobody is at the other end.
    """
    text = encode(message)
    left = memoryview(_LENGTH.pack(len(text)) + text)
    while left:
        left = left[os.write(fd, left) :]


class Unread:
    """What a child has said so far. Nobody waits for the rest of a message: who began it may have died."""

    def __init__(self) -> None:
        self._read = bytearray()

    def __bool__(self) -> bool:
        return bool(self._read)

    def add(self, more: bytes) -> None:
        """Take what was read from the pipe."""
        self._read += more

    def take(self) -> ToWorker | None:
        """The next message; None when not all of it was read yet.

        Raises:
            msgspec.DecodeError: no child says that.
        """
        if len(self._read) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._read)
        if length > MOST:
            raise msgspec.DecodeError(f"a message of {length:,} bytes, more than {MOST:,}")
        end = _LENGTH.size + length
        if len(self._read) < end:
            return None
        message: ToWorker = _for_worker(self._read[_LENGTH.size : end])
        del self._read[:end]
        return message


def ended(run: int, outcome: Outcome, error_type: str, told_to_stop: bool, memory: int) -> Ended:
    """The message of an outcome."""
    match outcome:
        case Returned(result):
            return Ended(run, "returned", result, False, None, error_type, told_to_stop, memory)
        case Raised(error, final, after_ms):
            return Ended(run, "raised", error, final, after_ms, error_type, told_to_stop, memory)
        case Snoozed(after_ms, note):
            return Ended(run, "snoozed", note.encode(), False, after_ms, error_type, told_to_stop, memory)
        case Interrupted():
            return Ended(run, "interrupted", b"", False, None, error_type, told_to_stop, memory)
        case Died():
            raise AssertionError("the dead tell nothing")
        case _:
            assert_never(outcome)


def outcome_of(message: Ended) -> Outcome:
    """The outcome that a message was made of."""
    match message.word:
        case "returned":
            return Returned(message.data)
        case "raised":
            return Raised(message.data, message.final, message.after_ms)
        case "snoozed":
            return Snoozed(message.after_ms or 0, message.data.decode())
        case "interrupted":
            return Interrupted()
        case _:
            assert_never(message.word)
