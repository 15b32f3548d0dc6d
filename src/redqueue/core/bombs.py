"""JSON that would harm its reader: nested so deep that a decoder runs out of stack, or with endless numbers."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from typing import Any, Final

import msgspec

MAX_DEPTH: Final = 64
"""Of what a job brings to a worker."""

READ_DEPTH: Final = 256
"""Of what is read back: an author's own types may nest deeper than data may, and a stack of 128 KiB holds that much."""

MAX_DIGITS: Final = 20

_STRINGS: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_LONG_INT: Final = re.compile(rb"(?<![0-9.eE+])[0-9]{%d,}+(?![.eE])" % (MAX_DIGITS + 1))
_THREE_DIGITS: Final = re.compile(rb"[0-9]{3}")
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_STEPS: Final = tuple((code in b"[{") - (code in b"]}") for code in range(256))


def bomb_in(raw: bytes, most: int = MAX_DEPTH) -> str:
    """What is wrong with it; empty: nothing. Linear in the length, and one to three C calls for an ordinary one.

    Deep nesting would run a decoder out of stack, on a thread before Python notices; an integer of thousands of digits
    takes time that is quadratic in them.
    """
    # So few digits and brackets are neither.
    if len(raw) - len(raw.translate(None, b"[{0123456789")) <= MAX_DIGITS:
        return ""
    many = len(raw) - len(raw.translate(None, b"[{")) > most
    # 21 digits in a row cover at least three of every seventh byte.
    long = _THREE_DIGITS.search(raw[::7]) is not None
    if not many and not long:
        return ""
    bare = _STRINGS.sub(b"", raw)
    if many and _depth(bare) > most:
        return f"nested deeper than {most}"
    if long and _LONG_INT.search(bare):
        return f"an integer of more than {MAX_DIGITS} digits; send it as text"
    return ""


def decode(raw: bytes, type: Any = Any, dec_hook: Callable[[Any, Any], Any] | None = None) -> Any:
    """Decode what was stored, whoever stored it.

    Raises:
        msgspec.DecodeError: not JSON, or a bomb, as its text says; or not of that type.
        UnicodeDecodeError: not UTF-8.
    """
    problem = bomb_in(raw, READ_DEPTH)
    if problem:
        raise msgspec.DecodeError(f"JSON is {problem}" if problem.startswith("nested") else f"JSON holds {problem}")
    return msgspec.json.decode(raw, type=type, dec_hook=dec_hook)


def _depth(bare: bytes) -> int:
    brackets = bare.translate(None, _NOT_BRACKETS)
    return max(itertools.accumulate(map(_STEPS.__getitem__, brackets)), default=0)
