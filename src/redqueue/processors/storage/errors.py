"""What a storage raises. Three of them are for good; any other `StorageError` may pass.

StorageError
├── InvalidKey (ValueError)
├── FileMissing (FileNotFoundError)
└── FileTooLarge
"""

from __future__ import annotations

from redqueue.errors import RedQueueError

LONGEST_REASON = 300


class StorageError(RedQueueError):
    """The storage could not do it; the message names the key. Unless it is one of the subclasses, it may pass."""


class InvalidKey(StorageError, ValueError):
    """A key that is no relative path below the storage's root, or that leads through a symbolic link."""


class FileMissing(StorageError, FileNotFoundError):
    """There is no file of that key.

    Attributes:
        key: the key.
    """

    def __init__(self, key: str) -> None:
        super().__init__(f"the storage has no file {key!r}")
        self.key = key


class FileTooLarge(StorageError):
    """A file is larger than its reader allows.

    Attributes:
        key: the key.
        limit: bytes.
    """

    def __init__(self, key: str, limit: int) -> None:
        super().__init__(f"the file {key!r} is larger than {limit:,} bytes")
        self.key = key
        self.limit = limit


def failed(key: str, error: Exception) -> StorageError:
    """What a backend raised, in terms of the key: neither paths of the machine nor credentials are in it."""
    if isinstance(error, StorageError):
        return error
    if isinstance(error, FileNotFoundError):
        return FileMissing(key)
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return StorageError(f"the file {key!r}: {type(error).__name__}: {text[:LONGEST_REASON]}")
