"""A folder of this machine, left by no key.

Folders are opened one by one, each relative to the one before and never through a symbolic link, so whoever swaps a
folder for a link at any moment is refused (openat(2), O_NOFOLLOW). The root itself may be a link.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

from typing_extensions import Buffer

from redqueue.processors.storage.errors import FileMissing, InvalidKey, StorageError
from redqueue.processors.storage.keys import UNFINISHED

ABANDONED_AFTER: Final = 86_400.0
"""Seconds without a write, after which a file that was being written is taken for a killed writer's."""
LOOK_EVERY: Final = 3_600.0
"""Seconds between two looks for such files in one folder."""
MOST_LOOKED_AT: Final = 1_000

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe must not block who opens it
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class LocalDraft:
    """A file that is being written: under a name of its own in the folder where it will be."""

    def __init__(self, folder: int, name: str) -> None:
        self._folder = folder
        self._name = name
        self._draft = f"{UNFINISHED}{secrets.token_hex(8)}.part"
        self._file: BinaryIO = os.fdopen(os.open(self._draft, _CREATE, 0o666, dir_fd=folder), "wb")

    def write(self, data: Buffer) -> None:
        """All of it."""
        self._file.write(data)

    def commit(self) -> None:
        """Put it in its place, whole, in one step that outlives a power cut."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.rename(self._draft, self._name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        _sync(self._folder)
        self._close_folder()

    def discard(self) -> None:
        """Remove it; after a failed `commit` too."""
        with suppress(OSError):
            self._file.close()
        if self._folder >= 0:
            with suppress(OSError):
                os.unlink(self._draft, dir_fd=self._folder)
            self._close_folder()

    def _close_folder(self) -> None:
        folder, self._folder = self._folder, -1
        os.close(folder)


class LocalPlace:
    """The files below a folder, which is made when the first is written."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._looked_at: dict[str, float] = {}

    def create(self, key: str) -> LocalDraft:
        """Begin to write."""
        *folders, name = key.split("/")
        _make_root(self._root)
        folder = self._open_folder(key, folders, create=True)
        try:
            _refuse_folder(key, name, folder)
            self._remove_abandoned("/".join(folders), folder)
            return LocalDraft(folder, name)
        except BaseException:
            os.close(folder)
            raise

    def open(self, key: str) -> BinaryIO:
        """Open it to be read."""
        *folders, name = key.split("/")
        folder = self._open_folder(key, folders)
        try:
            file = os.open(name, _READ, dir_fd=folder)
        except OSError as error:
            raise _explained(key, error) from None
        finally:
            os.close(folder)
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise FileMissing(key)
        return os.fdopen(file, "rb")

    def size(self, key: str) -> int:
        """In bytes."""
        with self.open(key) as file:
            return os.fstat(file.fileno()).st_size

    def delete(self, key: str) -> None:
        """Remove the file, or the link in its place; never what a link points to."""
        *folders, name = key.split("/")
        folder = self._open_folder(key, folders)
        try:
            _refuse_folder(key, name, folder)
            os.unlink(name, dir_fd=folder)
        finally:
            os.close(folder)

    def sign(self, key: str, seconds: int) -> str:
        """A folder signs nothing."""
        raise StorageError(f"the file {key!r}: a folder has no signed links")

    def _open_folder(self, key: str, parts: Sequence[str], *, create: bool = False) -> int:
        folder = os.open(self._root, _FOLDER)
        for part in parts:
            try:
                inner = _inner_folder(folder, part, create)
            except OSError as error:
                raise _explained(key, error) from None
            finally:
                os.close(folder)
            folder = inner
        return folder

    def _remove_abandoned(self, path: str, folder: int) -> None:
        now = time.monotonic()
        if now < self._looked_at.get(path, -LOOK_EVERY) + LOOK_EVERY:
            return
        if len(self._looked_at) >= MOST_LOOKED_AT:
            self._looked_at.clear()
        self._looked_at[path] = now
        long_ago = time.time() - ABANDONED_AFTER
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(UNFINISHED):
                    with suppress(OSError):  # another writer was faster, or it isn't ours to remove
                        if entry.stat(follow_symlinks=False).st_mtime < long_ago:
                            os.unlink(entry.name, dir_fd=folder)


def _make_root(root: Path) -> None:
    if root.is_dir():
        return
    made = [folder for folder in (root, *root.parents) if not folder.exists()]
    root.mkdir(parents=True, exist_ok=True)
    for folder in made:
        with suppress(OSError):  # whoever may make a folder may not always look into the one above
            above = os.open(folder.parent, _FOLDER)
            _sync(above)
            os.close(above)


def _sync(folder: int) -> None:
    """Let the names in a folder outlive a power cut."""
    with suppress(OSError):  # not every file system can; the file is in its place
        os.fsync(folder)


def _inner_folder(folder: int, part: str, create: bool) -> int:
    try:
        return os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
    except FileNotFoundError:
        if not create:
            raise
    with suppress(FileExistsError):
        os.mkdir(part, dir_fd=folder)
    _sync(folder)
    return os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)


def _refuse_folder(key: str, name: str, folder: int) -> None:
    with suppress(FileNotFoundError):
        if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            raise InvalidKey(f"the key {key!r} is a folder of the storage")


def _explained(key: str, error: OSError) -> Exception:
    """A link is ELOOP or ENOTDIR, as the system likes."""
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return InvalidKey(f"the key {key!r} leads through a symbolic link, or a file that is no folder")
    return error
