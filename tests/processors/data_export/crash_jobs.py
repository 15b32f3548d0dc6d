"""What the workers of test_crash.py run: it stops in the middle, once, until it is killed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from redqueue import ServiceRegistry
from redqueue.processors.data_export import AskedBy, DataExportProcessor, ExportSource, Filters
from redqueue.processors.storage import Storage

FOLDER = Path(os.environ["EXPORTS"])
ROWS = 20_000
registry = ServiceRegistry()


def stop_once(where: str) -> None:
    """Leave a mark; the run that left it goes no further."""
    mark = FOLDER / where
    if not mark.exists():
        mark.write_text(str(os.getpid()))
        time.sleep(60)


class Numbers(ExportSource):
    """Notes each run of it."""

    columns = ("n", "text")

    def __init__(self, stops: bool) -> None:
        self._stops = stops

    def rows(self, columns: Sequence[str], filters: Filters, asker: AskedBy) -> Iterator[Sequence[object]]:
        with (FOLDER / "runs").open("a") as file:
            file.write("run\n")
        for n in range(ROWS):
            if n == ROWS - 1 and self._stops:
                stop_once("in-rows")
            yield n, "x" * 50


class Mail:
    """Keeps what it sends in a file."""

    kinds = frozenset({"email"})

    async def send(
        self, kind: str, recipients: Sequence[str], message: str, context: Mapping[str, Any], *, idempotency_key: str
    ) -> None:
        if context["export_type"] == "in-notice":
            stop_once("in-notice")
        with (FOLDER / "sent").open("a") as file:
            file.write(f"{idempotency_key}\n")


registry.register_processor(
    "data-export",
    DataExportProcessor(
        {"in-rows": Numbers(True), "in-notice": Numbers(False)}, Storage(FOLDER / "files"), notifier=Mail()
    ),
)
