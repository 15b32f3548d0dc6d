"""Fresh job ids. Core draws no chance and reads no clock: it is given both."""

from __future__ import annotations

import os
import time
from binascii import b2a_base64
from typing import Final

_BYTES: Final = 12
_LENGTH: Final = 16
_SAFE: Final = bytes.maketrans(b"+/", b"_.")


def fresh_ids(count: int) -> list[str]:
    """That many ids of 16 characters of ``A-Z a-z 0-9 . _``; none begins with a dash, which a command line would take
    for an option."""
    text = b2a_base64(os.urandom(_BYTES * count), newline=False).translate(_SAFE).decode()
    return [text[n : n + _LENGTH] for n in range(0, _LENGTH * count, _LENGTH)]


def now_ms() -> int:
    """Milliseconds since 1970 by this producer's clock; they say when a job was added and decide nothing."""
    return time.time_ns() // 1_000_000
