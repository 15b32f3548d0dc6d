"""Zip archives.

What an archive says of itself is not believed: all its entries are inflated and counted before the first is written.
"""

from __future__ import annotations

import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final
from zipfile import ZipFile, ZipInfo

from redqueue.context import JobContext
from redqueue.errors import Discard
from redqueue.processors.file_processing.bench import Bench
from redqueue.processors.file_processing.limits import MIB, Limits, told
from redqueue.processors.storage import FileTooLarge, InvalidKey, Stored, check_key

METHODS: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
"""Others may take gigabytes of memory to inflate."""
CHUNK: Final = MIB
HARMLESS: Final = 10 * MIB
"""Bytes below which no ratio is too high: a few pages of spaces are packed a thousand times."""
ENTRY_BYTES: Final = 512
"""Of the directory, for each entry that is allowed: a name of some length."""
DEEPEST: Final = 32
"""Folders within each other, of an entry."""
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)

_DAMAGED: Final = (
    zipfile.BadZipFile,
    zlib.error,
    OSError,  # an offset before the start
    EOFError,
    struct.error,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
    IndexError,
)


def unpack(path: Path, below: str, never: str, bench: Bench) -> tuple[list[Stored], dict[str, Any]]:
    """Write an archive's files below a key, once all of it has been inflated and found sound.

    When writing fails, what was written is removed again; not when the run is told to stop.

    Args:
        never: a key that no entry may have: the archive's own, which another run would read.
    Raises:
        Discard: it is no zip archive, is damaged, is larger than the limits, or has an entry that is no plain file.
        StorageError: writing failed.
    """
    with _opened(path, bench.limits) as archive:
        packed = path.stat().st_size
        members = _members(archive, below, packed, bench.limits)
        if any(key == never for key, _ in members):
            raise Discard(f"the archive has an entry that would replace the archive: {never!r}")
        total = _inflate(archive, members, packed, bench)
        written: list[Stored] = []
        try:
            for key, member in members:
                with bench.storage.writing(key) as file:
                    for chunk in _chunks(archive, member, bench.context):
                        file.write(chunk)
                written.append(file.stored())
                bench.tell(0.5 + 0.5 * len(written) / len(members))
        except BaseException:
            # A run that was told to stop may have a successor, which writes the same files at this moment.
            for stored in written if not bench.context.cancelled else ():
                with suppress(Exception):
                    bench.storage.delete(stored.key)
            raise
    return written, {"entries": len(members), "bytes": total}


def pack(source: tuple[str, Path], also: Sequence[str], to: Path, bench: Bench) -> dict[str, Any]:
    """Write an archive of the source and other files of the storage, by their keys. Packed again it is the same.

    Raises:
        Discard: together they are larger than the limits.
        FileMissing, StorageError
    """
    total = 0
    with ZipFile(to, "w", zipfile.ZIP_DEFLATED) as archive:

        def add(key: str, chunks: Iterable[bytes]) -> None:
            nonlocal total
            entry = ZipInfo(key, _EPOCH)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            with archive.open(entry, "w", force_zip64=True) as packed:
                for chunk in chunks:
                    bench.context.raise_if_cancelled()
                    total += len(chunk)
                    if total > bench.limits.source:
                        raise FileTooLarge(key, bench.limits.source)
                    packed.write(chunk)

        with source[1].open("rb") as first:
            add(source[0], _read(first))
        for number, key in enumerate(also, 1):
            bench.tell(number / (len(also) + 1))
            with bench.storage.reading(key) as file:
                add(key, _read(file))
    return {"entries": len(also) + 1, "bytes": total}


def _read(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(CHUNK):
        yield chunk


@contextmanager
def _opened(path: Path, limits: Limits) -> Iterator[ZipFile]:
    with path.open("rb") as file:
        try:
            archive = ZipFile(_Bounded(file, limits.entries * ENTRY_BYTES))
        except _DAMAGED as error:
            raise Discard(f"the archive can't be read: {told(error)}") from error
        with archive:
            yield archive


class _Bounded:
    """A file of which nobody reads a directory larger than that: `ZipFile` reads it at once, as long as it claims."""

    def __init__(self, file: BinaryIO, most: int) -> None:
        self._file = file
        self._most = max(most, 2 * CHUNK)
        self.seek = file.seek
        self.tell = file.tell
        self.seekable = file.seekable
        self.close = file.close

    def read(self, size: int = -1, /) -> bytes:
        """At most so much, or fail."""
        data = self._file.read(self._most + 1 if size < 0 else min(size, self._most + 1))
        if len(data) > self._most:
            raise Discard(f"the archive has a directory of more than {self._most:,} bytes")
        return data


def _members(archive: ZipFile, below: str, packed: int, limits: Limits) -> list[tuple[str, ZipInfo]]:
    """The files with the keys that they get. Nothing is inflated yet."""
    entries = archive.infolist()
    if len(entries) > limits.entries:
        raise Discard(f"the archive has {len(entries):,} entries, more than {limits.entries:,}")
    _check_total(sum(entry.file_size for entry in entries), packed, limits)
    folders: set[str] = set()
    found: dict[str, ZipInfo] = {}
    for entry in entries:
        name = _checked_name(entry)
        key = check_entry_key(below, name)
        if name.count("/") > DEEPEST:
            raise Discard(f"the archive has an entry in more than {DEEPEST} folders: {name[:100]!r}")
        folders.update(_folders_of(key, from_depth=below.count("/") + 2))
        if entry.is_dir():
            folders.add(key)
        elif key in found:
            raise Discard(f"the archive has two entries named {name!r}")
        else:
            found[key] = entry
        if len(found) + len(folders) > limits.entries:
            raise Discard(
                f"the archive has more than {limits.entries:,} files and folders, with those that names imply"
            )
    if clash := folders & found.keys():
        raise Discard(f"the archive has a file and a folder of one name: {min(clash)!r}")
    return list(found.items())


def _folders_of(key: str, from_depth: int) -> Iterator[str]:
    """Those in which it is, but for what is above that depth."""
    parents = key.split("/")[:-1]
    return ("/".join(parents[:depth]) for depth in range(from_depth, len(parents) + 1))


def _check_total(total: int, packed: int, limits: Limits) -> None:
    if total > limits.unpacked:
        raise Discard(f"the archive unpacks to more than {limits.unpacked:,} bytes")
    if total > max(HARMLESS, limits.ratio * packed):
        raise Discard(f"the archive unpacks to more than {limits.ratio:,} times its size")


def check_entry_key(below: str, name: str) -> str:
    """Where an entry of that name goes.

    Raises:
        Discard: not below the destination.
    """
    try:
        check_key(name)
        return check_key(f"{below}/{name}")
    except InvalidKey as error:
        raise Discard(f"the archive has an entry that can't be unpacked: {error}") from error


def _checked_name(entry: ZipInfo) -> str:
    name = unicodedata.normalize("NFC", entry.orig_filename)
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise Discard(f"the archive has an entry that is a link or a device: {name[:100]!r}")
    if entry.flag_bits & 0x1:
        raise Discard(f"the archive is encrypted: {name[:100]!r}")
    if entry.compress_type not in METHODS:
        raise Discard(f"the archive has an entry that is neither stored nor deflated: {name[:100]!r}")
    return name.removesuffix("/")


def _inflate(archive: ZipFile, members: Sequence[tuple[str, ZipInfo]], packed: int, bench: Bench) -> int:
    """Inflate all of it and keep nothing; sizes and checksums are compared by the way."""
    total = 0
    for number, (_, member) in enumerate(members):
        for chunk in _chunks(archive, member, bench.context):
            total += len(chunk)
            _check_total(total, packed, bench.limits)
        bench.tell(0.5 * (number + 1) / len(members))
    return total


def _chunks(archive: ZipFile, member: ZipInfo, context: JobContext) -> Iterator[bytes]:
    try:
        with archive.open(member) as file:
            while chunk := file.read(CHUNK):
                context.raise_if_cancelled()
                yield chunk
    except _DAMAGED as error:
        raise Discard(f"the archive is damaged: {told(error)}") from error
