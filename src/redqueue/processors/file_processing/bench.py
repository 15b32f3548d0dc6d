"""What all operations of a job work with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from redqueue.context import JobContext
from redqueue.processors.file_processing.limits import Limits
from redqueue.processors.storage import Storage


@dataclass(frozen=True, slots=True)
class Bench:
    """One job's place to work.

    Attributes:
        folder: of its own, gone when the job ends.
        tell: how far the operation is, from 0 to 1.
    """

    folder: Path
    storage: Storage
    limits: Limits
    context: JobContext
    tell: Callable[[float], None] = lambda share: None
