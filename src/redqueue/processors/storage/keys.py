"""Which keys a storage takes. Jobs bring them, so they are hostile until they are checked."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from redqueue.processors.storage.errors import InvalidKey

MOST_BYTES: Final = 1_024
"""Of a key: what S3 allows."""
MOST_PART_BYTES: Final = 255
"""Of one part: what file systems allow."""
UNFINISHED: Final = ".redqueue-"
"""How the names of files begin that are being written."""

_HIDDEN: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
_BIDI: Final = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_DRIVE: Final = re.compile(r"[A-Za-z]:")


def check_key(key: str) -> str:
    """The key in Unicode's NFC, when it is a relative path that stays below whatever it is joined to.

    ``images/2026/cat.png`` is; whatever begins with ``/`` or a drive is not, nor what has a part that is empty, ``.``
    or ``..``, a backslash, a control character or one that turns the direction of text.

    Raises:
        InvalidKey: it isn't, or is longer than 1,024 bytes, or has a part longer than 255.
    """
    if why := _wrong_with(key := unicodedata.normalize("NFC", key)):
        raise InvalidKey(f"the key {key[:100]!r} {why}")
    return key


def _wrong_with(key: str) -> str | None:
    if not key:
        return "is empty: give a relative path"
    if any(unicodedata.category(character) in _HIDDEN for character in key) or _BIDI.search(key):
        return "has a control character"
    if len(key.encode()) > MOST_BYTES:
        return f"has more than {MOST_BYTES:,} bytes"
    if "\\" in key:
        return "has a backslash: parts are separated by '/'"
    if key.startswith("/") or _DRIVE.match(key):
        return "is absolute: give a path relative to the storage's root"
    for part in key.split("/"):
        if part in ("", ".", ".."):
            return f"has the part {part!r}: give a plain relative path"
        if len(part.encode()) > MOST_PART_BYTES:
            return f"has a part of more than {MOST_PART_BYTES} bytes"
        if part.startswith(UNFINISHED):
            return f"has a part that begins with {UNFINISHED!r}: such files are not complete"
    return None
