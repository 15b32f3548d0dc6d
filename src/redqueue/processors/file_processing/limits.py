"""How much a file may ask of a worker. A file is hostile until it is done with."""

from __future__ import annotations

from typing import Final

import msgspec

from redqueue.units import check_int

KIB: Final = 2**10
MIB: Final = 2**20
GIB: Final = 2**30


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a job fails beyond, at once and for good. How long it may take is the `timeout` of the registration.

    Args:
        memory: bytes that a job may take beyond what its child process has when it begins (RLIMIT_AS; Linux only).
        source: bytes of a file that is read, and of all files that are packed.
        output: bytes of a file that is written.
        pixels: of an image, all its frames together; 4 bytes each while it is worked on.
        frames: of an animated image.
        entries: files and folders of an archive, with the folders that only names imply.
        unpacked: bytes of all files of an archive.
        ratio: unpacked bytes for one packed byte, once they are more than 10 MiB.
        pages: of a PDF.
        text: bytes of a PDF's text.
        seconds: of video or audio.
        tool_memory: bytes that ffmpeg may take, in a process of its own.
        tool_threads: with which ffmpeg decodes and encodes.
    Raises:
        InvalidOption: one is no whole number of at least 1.
    """

    memory: int = GIB
    source: int = GIB
    output: int = 4 * GIB
    pixels: int = 64_000_000
    frames: int = 500
    entries: int = 10_000
    unpacked: int = 2 * GIB
    ratio: int = 200
    pages: int = 2_000
    text: int = 16 * MIB
    seconds: int = 4 * 3_600
    tool_memory: int = 4 * GIB
    tool_threads: int = 2

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            check_int(name, getattr(self, name), 1, 2**53)


def told(error: BaseException) -> str:
    """An exception of a library's, in a few words that a log can show."""
    words = "".join(character for character in str(error)[:200] if character.isprintable())
    return f"{type(error).__name__}: {words}" if words else type(error).__name__
