"""What a storage raises. Three of them are for good; any other `StorageError` may pass.

StorageError
├── InvalidKey (ValueError)
├── FileMissing (FileNotFoundError)
└── FileTooLarge
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from redqueue.errors import RedQueueError

LONGEST_REASON: Final = 300


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


@contextmanager
def in_terms_of(key: str) -> Iterator[None]:
    """What a backend raises within it becomes a `StorageError` of the key."""
    try:
        yield
    except (RedQueueError, MemoryError):
        raise
    except FileNotFoundError:
        raise FileMissing(key) from None
    except Exception as error:
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise StorageError(f"the file {key!r}: {type(error).__name__}: {text[:LONGEST_REASON]}") from error
