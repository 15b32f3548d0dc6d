"""Where processors read and write files: by key, whole or not at all."""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol, Self
from urllib.parse import quote, unquote, urlsplit

import msgspec
from typing_extensions import Buffer

from redqueue.errors import ConfigurationError, Seconds
from redqueue.processors.storage.errors import FileMissing, FileTooLarge, InvalidKey, in_terms_of
from redqueue.processors.storage.keys import check_key
from redqueue.processors.storage.local import LocalPlace
from redqueue.processors.storage.remote import PROTOCOLS, STREAMED, RemotePlace
from redqueue.units import to_ms

SIGN: Final = "sign"
LONGEST_SIGNED: Final = 7 * 86_400
"""Seconds that a signed link of S3 can work (AWS Signature Version 4)."""
CHUNK: Final = 2**20

_URL: Final = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_NEARLY_A_URL: Final = re.compile(r"[a-z0-9+.-]+:/", re.IGNORECASE)


class Draft(Protocol):
    """A file that is being written."""

    def write(self, data: Buffer) -> None: ...
    def commit(self) -> None: ...
    def discard(self) -> None: ...


class Stored(msgspec.Struct, frozen=True):
    """A file as it was written or read: `size` in bytes, `sha256` in hex digits."""

    key: str
    size: int
    sha256: str


class StorageFile(io.BufferedIOBase):
    """A file that is being written, from the start to the end; nobody sees it before `Storage.writing` is left.

    Closing it ends the writing, and doesn't make it visible.

    Attributes:
        key, name: where it will be.
        size: bytes written so far.
    """

    def __init__(self, key: str, draft: Draft) -> None:
        self.key = self.name = key
        self.size = 0
        self._draft = draft
        self._hash = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """Of what was written so far, in hex digits."""
        return self._hash.hexdigest()

    def write(self, data: Buffer, /) -> int:
        """Write all of it.

        Raises:
            StorageError: no space, no connection.
        """
        if self.closed:
            raise ValueError("the file is closed")
        with memoryview(data).cast("B") as view:
            with in_terms_of(self.key):
                self._draft.write(view)
            self._hash.update(view)
            self.size += len(view)
            return len(view)

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.size

    def stored(self) -> Stored:
        """What was written so far."""
        return Stored(self.key, self.size, self.sha256)


class Storage:
    """Files by key, in a folder or in an object store.

    It holds settings only: it can be made at import, used from many threads, and sent to a child process; what reaches
    the files is opened at first use in each process.

    Args:
        url: ``file:///srv/files`` or a path; ``s3://bucket/prefix`` (extra ``s3``); ``gs://``, ``az://`` or ``abfs://``
            with the package that fsspec names; ``memory://name``, of one process and for tests. Others are refused:
            their files could be seen half written.
        link: where people download a file: a template such as ``https://files.example.com/{key}``, into which the key
            is put percent-encoded; a function of the key; or ``sign``, for a signed link of the store. None: nowhere.
        link_expires: seconds that a signed link works, at most 7 days.
        options: for fsspec's file system: credentials, ``endpoint_url`` and so on. Shown nowhere.
    Raises:
        ConfigurationError: it can't work.
    """

    def __init__(
        self,
        url: str | Path,
        *,
        link: str | Callable[[str], str | None] | None = None,
        link_expires: Seconds = timedelta(days=1),
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.protocol, self._root = _place_of(str(url))
        self._link = link
        self._link_expires = to_ms("link_expires", link_expires) // 1000
        self._options = dict(options or {})
        self._opened: tuple[int, LocalPlace | RemotePlace] | None = None
        if self.protocol == "file" and self._options:
            raise ConfigurationError("options are for object stores: a folder has none")
        if link == SIGN and (self.protocol == "file" or self.protocol == "memory"):
            raise ConfigurationError(f"link='sign': a storage at {self.protocol}:// signs no links")
        if link == SIGN and not 1 <= self._link_expires <= LONGEST_SIGNED:
            raise ConfigurationError("link_expires: a signed link works from a second to 7 days")
        if isinstance(link, str) and link != SIGN and "{key}" not in link:
            raise ConfigurationError(f"link={link!r} has no {{key}}: as in https://files.example.com/{{key}}")

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """By ``STORAGE_URL``, and ``STORAGE_LINK`` if there is one; credentials come from where fsspec's package looks.

        Raises:
            ConfigurationError: the first isn't set, or they can't work.
        """
        given = os.environ if environ is None else environ
        if not (url := given.get("STORAGE_URL", "")):
            raise ConfigurationError("STORAGE_URL is not set: it says where files are, as in file:///srv/files")
        return cls(url, link=given.get("STORAGE_LINK") or None)

    @contextmanager
    def writing(self, key: str) -> Iterator[StorageFile]:
        """A file to write to, in place of what was there. It is seen by others once this is left, whole.

        When an exception leaves it nothing is changed. What a killed process had begun is never seen either; a folder
        is rid of it within a day of use, an S3 bucket by its rule ``AbortIncompleteMultipartUpload``.

        Raises:
            InvalidKey: nothing was written.
            StorageError: likewise; trying again may do.
        """
        key = check_key(key)
        with in_terms_of(key):
            draft = self._place().create(key)
        file = StorageFile(key, draft)
        try:
            yield file
            file.close()
            with in_terms_of(key):
                draft.commit()
        except BaseException:
            file.close()
            with suppress(Exception):  # what matters is what went wrong before
                draft.discard()
            raise

    @contextmanager
    def reading(self, key: str) -> Iterator[BinaryIO]:
        """The file, to read from and to seek in.

        Raises:
            FileMissing, InvalidKey, StorageError
        """
        key = check_key(key)
        with in_terms_of(key):
            file = self._place().open(key)
        with file:
            yield file

    def exists(self, key: str) -> bool:
        """Whether there is such a file; a folder or a symbolic link is none. A key that is refused raises."""
        key = check_key(key)
        try:
            self.size(key)
        except (FileMissing, InvalidKey):
            return False
        return True

    def size(self, key: str) -> int:
        """In bytes.

        Raises:
            FileMissing, InvalidKey, StorageError
        """
        key = check_key(key)
        with in_terms_of(key):
            return self._place().size(key)

    def delete(self, key: str) -> None:
        """Remove the file; that it isn't there is fine.

        Raises:
            InvalidKey, StorageError
        """
        key = check_key(key)
        with suppress(FileNotFoundError), in_terms_of(key):
            self._place().delete(key)

    def download(self, key: str, path: str | Path, most: int | None = None) -> Stored:
        """Copy the file to a path of this machine; when that fails there is nothing at the path.

        Args:
            most: bytes that are taken; None: any.
        Raises:
            FileTooLarge: it has more than that.
            FileMissing, InvalidKey, StorageError
        """
        key, path = check_key(key), Path(path)
        with self.reading(key) as file:
            try:
                return _copied(key, file, path, most)
            except BaseException:
                path.unlink(missing_ok=True)
                raise

    def upload(self, path: str | Path, key: str) -> Stored:
        """Copy a file of this machine to the storage, whole or not at all.

        Raises:
            InvalidKey, StorageError
            OSError: the path can't be read.
        """
        with Path(path).open("rb") as file, self.writing(key) as copy:
            while chunk := file.read(CHUNK):
                copy.write(chunk)
        return copy.stored()

    def link_for(self, key: str) -> str | None:
        """Where people download the file; None: the storage has no links. Whether it exists isn't looked at."""
        key = check_key(key)
        if callable(self._link):
            return self._link(key)
        if self._link is None:
            return None
        if self._link != SIGN:
            return self._link.replace("{key}", quote(key, safe="/"))
        with in_terms_of(key):
            return self._place().sign(key, self._link_expires)

    def __repr__(self) -> str:
        return f"Storage({self.protocol + '://' + self._root!r})"

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": None}

    def _place(self) -> LocalPlace | RemotePlace:
        opened = self._opened
        if opened is None or opened[0] != os.getpid():  # a forked process shares no connections
            local = self.protocol == "file"
            place = LocalPlace(Path(self._root)) if local else RemotePlace(self.protocol, self._root, self._options)
            opened = self._opened = os.getpid(), place
        return opened[1]


def _copied(key: str, file: BinaryIO, path: Path, most: int | None) -> Stored:
    size, digest = 0, hashlib.sha256()
    with path.open("wb") as copy:
        while chunk := _read(key, file):
            size += len(chunk)
            if most is not None and size > most:
                raise FileTooLarge(key, most)
            digest.update(chunk)
            copy.write(chunk)
    return Stored(key, size, digest.hexdigest())


def _read(key: str, file: BinaryIO) -> bytes:
    with in_terms_of(key):
        return file.read(CHUNK)


def _place_of(url: str) -> tuple[str, str]:
    """The protocol, and the folder or the bucket with its prefix."""
    if not (found := _URL.match(url)):
        if not url:
            raise ConfigurationError("the storage's URL is empty: give file:///srv/files, s3://bucket or a path")
        if nearly := _NEARLY_A_URL.match(url):
            raise ConfigurationError(
                f"the storage's URL begins with {nearly[0]}: two slashes follow the colon, as in s3://bucket or "
                "file:///srv/files; a folder of such a name is written ./name"
            )
        return "file", str(Path(url).absolute())
    protocol, parts = found[1].lower(), urlsplit(url)
    if "@" in parts.netloc:
        raise ConfigurationError("the storage's URL has credentials: pass them as options, or by the environment")
    if parts.query or parts.fragment:
        raise ConfigurationError(f"the storage's URL ({protocol}://...) has a query or a fragment: pass options")
    if protocol in ("file", "local"):
        if parts.netloc not in ("", "localhost") or not parts.path:
            raise ConfigurationError(f"{url!r} is no folder of this machine: write file:///srv/files")
        return "file", unquote(parts.path).rstrip("/") or "/"
    if protocol not in PROTOCOLS:
        known = ", ".join(sorted({"file", *PROTOCOLS}))
        raise ConfigurationError(f"a storage can't be at {protocol}://: a file could be seen half written; use {known}")
    root = (parts.netloc + parts.path).rstrip("/")
    try:
        return "s3" if protocol in STREAMED else protocol, check_key(root)
    except InvalidKey as error:
        raise ConfigurationError(f"the storage's URL must be {protocol}://bucket/prefix: {error}") from None
