"""Files by key: a folder, or a bucket of an object store."""

from redqueue.processors.storage.errors import FileMissing, FileTooLarge, InvalidKey, StorageError
from redqueue.processors.storage.keys import check_key
from redqueue.processors.storage.storage import Storage, StorageFile, Stored

__all__ = (
    "FileMissing",
    "FileTooLarge",
    "InvalidKey",
    "Storage",
    "StorageError",
    "StorageFile",
    "Stored",
    "check_key",
)
