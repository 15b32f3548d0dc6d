"""How many frames a GIF has, without decoding one (GIF89a, 17 to 27)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO, Final

from redqueue.errors import Discard

_HEADER: Final = 13
_IMAGE: Final = b"\x2c"
_EXTENSION: Final = b"\x21"
_TRAILER: Final = b"\x3b"


def count_frames(path: Path, most: int) -> int:
    """Frames of a whole GIF.

    Raises:
        Discard: it has more than so many, or is cut off.
    """
    frames = 0
    with path.open("rb") as file:
        _skip_colours(file, _take(file, _HEADER)[10])
        while (block := _take(file, 1)) != _TRAILER:
            if block == _EXTENSION:
                _take(file, 1)
                _skip_blocks(file)
            elif block == _IMAGE:
                frames += 1
                if frames > most:
                    raise Discard(f"the image has more than {most:,} frames")
                _skip_colours(file, _take(file, 9)[8])
                _take(file, 1)
                _skip_blocks(file)
    return frames


def _take(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise Discard("the image can't be decoded: it is cut off")
    return data


def _skip_colours(file: BinaryIO, flags: int) -> None:
    if flags & 0x80:
        file.seek(3 << (flags & 7) + 1, os.SEEK_CUR)


def _skip_blocks(file: BinaryIO) -> None:
    while size := _take(file, 1)[0]:
        file.seek(size, os.SEEK_CUR)
