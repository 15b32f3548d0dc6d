"""A storage for child processes, which import this module: the first writer is killed in the middle."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redqueue.processors.storage import Storage, StorageFile


class DyingStorage(Storage):
    """Its process is killed at the file of that number, with half of it written; once."""

    def __init__(self, root: Path, mark: Path, number: int) -> None:
        super().__init__(root)
        self.mark = mark
        self.number = number
        self.written = 0

    @contextmanager
    def writing(self, key: str) -> Iterator[StorageFile]:
        with super().writing(key) as file:
            self.written += 1
            if self.written == self.number and not self.mark.exists():
                self.mark.touch()
                file.write(b"half")
                os.kill(os.getpid(), signal.SIGKILL)
            yield file
