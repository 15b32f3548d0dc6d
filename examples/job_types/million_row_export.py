"""A million rows as CSV: `python examples/job_types/million_row_export.py`.

It needs `pip install 'redqueue-jobs[embedded,export]'`. The rows come from an SQLite file that it fills first; the
export streams them into the storage, tells its progress, and tells the user in the application when the file is there.
Then it is downloaded by its link and compared.
"""

from __future__ import annotations

import argparse
import hashlib
import sqlite3
import tempfile
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from redqueue import Job, Queue, ServiceRegistry, Worker, embedded
from redqueue.processors.data_export import DataExportProcessor, TableSource
from redqueue.processors.storage import Storage
from redqueue.shapes import DataExportJobData, ExportResult
from redqueue.tasks.notifier import Notifier

STATUSES = ("open", "won", "lost")


def register(registry: ServiceRegistry, database: Path, storage: Storage, notifier: Notifier) -> None:
    """What a worker's module does."""
    leads = TableSource(
        f"sqlite:///{database}",
        "leads",
        ["id", "name", "status", "created_at"],
        sub_account="sub_account_id",  # a job sees the rows of its own sub-account
    )
    registry.register_processor("data-export", DataExportProcessor({"leads": leads}, storage, notifier=notifier))


def fill(database: Path, rows: int) -> None:
    """A table of so many leads of sub_123, and one of somebody else's."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(
            "CREATE TABLE leads (id INTEGER PRIMARY KEY, sub_account_id TEXT, name TEXT, status TEXT, created_at DATE)"
        )
        leads = ((n, "sub_123", f"Lead {n}", STATUSES[n % 3], f"2026-{n % 12 + 1:02}-01") for n in range(rows))
        connection.executemany("INSERT INTO leads VALUES (?, ?, ?, ?, ?)", leads)
        connection.execute("INSERT INTO leads VALUES (?, 'sub_456', 'not yours', 'open', '2026-01-01')", (rows,))


class Quiet(SimpleHTTPRequestHandler):
    """Files without a line on the terminal for each request."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def stand_in_web_server(folder: Path) -> Iterator[str]:
    """STAND-IN for the web server or bucket from which people download: its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def follow(queue: Queue, job: Job[ExportResult]) -> ExportResult:
    """Print how far the job is, by the queue's events, until it has ended; its result, or a `JobFailed`."""
    shown = 0.0
    for event in queue.events(since="0", kinds={"progress", "completed", "failed"}):
        if event.job_id != job.id:
            continue
        if event.kind != "progress":
            break
        done = event.facts["progress"] or 0
        if done >= shown + 0.1 or shown < done == 1:
            shown = done
            print(f"  {shown:4.0%}  {event.facts['message']}")
    return job.result(30)


def main(url: str, folder: Path, rows: int) -> int:
    """Export, and download what came of it."""
    fill(folder / "app.db", rows)
    told = []

    def show(user: str, message: str, context: Mapping[str, Any]) -> None:
        """Where an application keeps what its pages show."""
        told.append(f"{user} is told: {message}")

    with stand_in_web_server(folder / "files") as files:
        storage = Storage(folder / "files", link=f"{files}/{{key}}")
        registry = ServiceRegistry()
        register(registry, folder / "app.db", storage, Notifier(in_app=show))
        data = DataExportJobData(sub_account_id="sub_123", export_type="leads", format="csv", user_id="ada")
        with Queue("data-export", url) as queue, Worker(["data-export"], url, registry=registry).in_thread():
            print(f"exporting {rows:,} rows")
            result = follow(queue, queue.add(data))
        assert result.link is not None
        with urllib.request.urlopen(result.link) as answer:
            digest, lines = hashlib.sha256(), -1  # the first line has the columns' names
            while block := answer.read(1 << 20):
                digest.update(block)
                lines += block.count(b"\n")
    same = digest.hexdigest() == result.sha256
    print(f"{result.rows:,} rows, {result.size / 1e6:.1f} MB: {result.link}")
    print(f"downloaded {lines:,} rows; the checksum {'is' if same else 'IS NOT'} the result's")
    print("\n".join(told))
    return 0 if same and lines == rows and len(told) == 1 else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="An export with progress, a link and a notification.")
    parser.add_argument("--rows", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try:
            code = main(f"embedded://{folder}/data", Path(folder), options.rows)
        finally:
            embedded.stop(f"{folder}/data")
    raise SystemExit(code)
