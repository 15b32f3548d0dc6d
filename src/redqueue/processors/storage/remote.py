"""Object stores, through fsspec. A write is whole or not at all, because that is how these stores take an object."""

from __future__ import annotations

import io
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, BinaryIO, Final, cast

from typing_extensions import Buffer

from redqueue.errors import ConfigurationError, MissingExtra
from redqueue.processors.storage.errors import FileMissing, InvalidKey

try:
    import fsspec
except ImportError as missing:
    raise MissingExtra("files", "a storage of files") from missing

STREAMED: Final = frozenset({"s3", "s3a"})
"""Written by multipart uploads that end, or are aborted."""
SENT_WHOLE: Final = frozenset({"memory", "gs", "gcs", "az", "abfs", "abfss"})
"""Written to a temporary file of this machine first."""
PROTOCOLS: Final = STREAMED | SENT_WHOLE

PART_BYTES: Final = 16 * 2**20
"""Of a multipart upload, which has at most 10,000 of them."""

_memory: Final = threading.Lock()
"""A file of fsspec's memory has one position, which all its readers share."""


class StreamedDraft:
    """A multipart upload; a small file is one request, at its end."""

    def __init__(self, files: Any, path: str) -> None:
        # Left alone, as by a killed process, it ends nowhere: only `commit` says that closing it completes the upload.
        self._file = files.open(path, "wb", block_size=files.default_block_size, autocommit=False)

    def write(self, data: Buffer) -> None:
        """All of it."""
        self._file.write(data)

    def commit(self) -> None:
        """Complete the upload."""
        self._file.autocommit = True
        self._file.close()

    def discard(self) -> None:
        """Abort the upload; after a failed `commit` too."""
        self._file.closed = True  # so that nothing closes it later, which would send what it holds
        self._file.discard()


class SpooledDraft:
    """A temporary file that becomes an object by one call."""

    def __init__(self, files: Any, path: str, protocol: str) -> None:
        self._files = files
        self._path = path
        self._in_memory = protocol == "memory"
        self._file = tempfile.NamedTemporaryFile(prefix="redqueue-") if not self._in_memory else io.BytesIO()  # noqa: SIM115

    def write(self, data: Buffer) -> None:
        """All of it."""
        self._file.write(data)

    def commit(self) -> None:
        """Send it."""
        if isinstance(self._file, io.BytesIO):
            with _memory:
                self._files.pipe_file(self._path, self._file.getvalue())
        else:
            self._file.flush()
            self._files.put_file(self._file.name, self._path)
        self._file.close()

    def discard(self) -> None:
        """Nothing was sent."""
        self._file.close()


class RemotePlace:
    """The objects whose names begin with `root`: a bucket's name and a prefix."""

    def __init__(self, protocol: str, root: str, options: Mapping[str, Any]) -> None:
        self._protocol = protocol
        self._root = root
        defaults: dict[str, Any] = {"use_listings_cache": False}  # others write there, too
        if protocol in STREAMED:
            defaults["default_block_size"] = PART_BYTES
        try:
            self._files: Any = fsspec.filesystem(protocol, **(defaults | dict(options)))
        except ImportError as error:
            if protocol in STREAMED:
                raise MissingExtra("s3", "a storage in S3") from error
            raise ConfigurationError(f"a storage at {protocol}:// needs another package: {error}") from error

    def create(self, key: str) -> StreamedDraft | SpooledDraft:
        """Begin to write."""
        if self._protocol in STREAMED:
            return StreamedDraft(self._files, self._path(key))
        return SpooledDraft(self._files, self._path(key), self._protocol)

    def open(self, key: str) -> BinaryIO:
        """Open it to be read."""
        self.size(key)
        if self._protocol == "memory":
            with _memory:
                return io.BytesIO(self._files.cat_file(self._path(key)))
        return cast(BinaryIO, self._files.open(self._path(key), "rb"))

    def size(self, key: str) -> int:
        """In bytes."""
        info = self._files.info(self._path(key))
        if info["type"] != "file":
            raise FileMissing(key)
        return int(info["size"])

    def delete(self, key: str) -> None:
        """Remove the object."""
        with suppress(FileNotFoundError):
            self._files.rm_file(self._path(key))

    def sign(self, key: str, seconds: int) -> str:
        """A link that works for so long."""
        return str(self._files.sign(self._path(key), expiration=seconds))

    def _path(self, key: str) -> str:
        if "?versionId=" in key:  # s3fs would take the rest for the name of a version
            raise InvalidKey(f"the key {key!r} has a '?versionId='")
        return f"{self._root}/{key}"
