"""Exports through a real worker, their files read back, and databases to export from."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import msgspec
import psycopg
import pytest

from redqueue import JobStatus, Queue, ServiceRegistry, Worker
from redqueue.processors.data_export import AskedBy, DataExportProcessor, ExportSource, Filters, RowWriter
from redqueue.processors.storage import Storage
from redqueue.shapes import ExportResult
from redqueue.testing import run_until_idle

COLUMNS = ("id", "name", "amount")
ROWS = [(1, "Ada", 1.5), (2, "Grace", 2.25), (3, "Zoë <b>", None)]
GUARD = 30


@dataclass
class Rows(ExportSource):
    """A source of what it is given; it notes what was asked for, and whether it was closed."""

    given: Iterable[Sequence[object]] | Callable[[], Iterable[Sequence[object]]]
    columns: Sequence[str] = COLUMNS
    total: int | None = None
    asked: list[tuple[str | None, str | None]] = field(default_factory=list)
    closed: int = 0

    def rows(self, columns: Sequence[str], filters: Filters, asker: AskedBy) -> Iterator[Sequence[object]]:
        self.asked.append((asker.sub_account_id, asker.user_id))
        places = [list(self.columns).index(name) for name in columns]
        try:
            for row in self.given() if callable(self.given) else self.given:
                yield [row[place] for place in places] if len(row) == len(self.columns) else row
        finally:
            self.closed += 1

    def count(self, filters: Filters, asker: AskedBy) -> int | None:
        return self.total


@dataclass
class Told:
    """A notifier that keeps what it sends; the first `failures` sends raise `error`."""

    kinds: frozenset[str] = frozenset({"in_app", "email"})
    failures: int = 0
    error: Exception = field(default_factory=lambda: ConnectionError("the service is down: token=canary"))
    sent: list[tuple[str, tuple[str, ...], str, str]] = field(default_factory=list)
    contexts: list[Mapping[str, Any]] = field(default_factory=list)
    tries: list[str] = field(default_factory=list)

    async def send(
        self, kind: str, recipients: Sequence[str], message: str, context: Mapping[str, Any], *, idempotency_key: str
    ) -> None:
        self.tries.append(idempotency_key)
        if len(self.tries) <= self.failures:
            raise self.error
        self.sent.append((kind, tuple(recipients), message, idempotency_key))
        self.contexts.append(context)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path / "files", link="https://files.example/{key}")


@pytest.fixture
def queue(real_url: str) -> Iterator[Queue]:
    with Queue("data-export", real_url, backoff=0) as opened:
        yield opened


class Exports:
    """Adds one job, runs it to its end, and says what became of it."""

    def __init__(self, queue: Queue, storage: Storage, url: str) -> None:
        self.queue = queue
        self.storage = storage
        self._url = url

    def worker(self, processor: DataExportProcessor, **options: Any) -> Worker:
        registry = ServiceRegistry()
        registry.register_processor("data-export", processor, **options)
        return Worker(["data-export"], self._url, registry=registry)

    def status(
        self, processor: DataExportProcessor, data: Mapping[str, Any] | None = None, **options: Any
    ) -> JobStatus:
        whole = {"subAccountId": "sub_1", "exportType": "leads", "format": "csv", **(data or {})}
        run = {name: options.pop(name) for name in ("execution", "timeout") if name in options}
        job = self.queue.add("data-export", whole, **options)
        run_until_idle(self.worker(processor, **run), timeout=GUARD)
        status = self.queue.get_status(job.id)
        assert status is not None
        return status

    def result(
        self, processor: DataExportProcessor, data: Mapping[str, Any] | None = None, **options: Any
    ) -> ExportResult:
        status = self.status(processor, data, **options)
        assert status.status == "completed", status.error
        return msgspec.convert(status.result, ExportResult)

    def error(self, processor: DataExportProcessor, data: Mapping[str, Any] | None = None, **options: Any) -> str:
        """Of a job that must fail without being retried."""
        status = self.status(processor, data, **options)
        assert status.status == "failed" and status.error is not None
        assert status.error.startswith("Discard: ") and status.attempts == 1, status.error
        return status.error.removeprefix("Discard: ")

    def read(self, key: str) -> bytes:
        with self.storage.reading(key) as file:
            return file.read()

    def files(self) -> list[str]:
        """All that is in the storage's folder, unfinished files too."""
        root = Path(self.storage._root)
        return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


@pytest.fixture
def exports(queue: Queue, storage: Storage, real_url: str) -> Exports:
    return Exports(queue, storage, real_url)


def written(writer: RowWriter, columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = "rows") -> bytes:
    """The file that a writer makes of these."""
    file = BytesIO()
    writer.open(file, columns, title=title)
    for row in rows:
        writer.row(row)
    writer.close()
    return file.getvalue()


# -- databases


def _postgres_programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    if (initdb := shutil.which("initdb")) is not None:
        return Path(initdb).resolve().parent
    why = "PostgreSQL is not installed: apt-get install postgresql"
    if os.environ.get("CI"):
        pytest.fail(why, pytrace=False)
    pytest.skip(why)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL server of the session's own, on a socket of the file system only."""
    programs, folder = _postgres_programs(), Path(mkdtemp(prefix="rq-pg-", dir="/tmp"))
    user: dict[str, Any] = {}
    if os.geteuid() == 0:  # it refuses to run as root
        shutil.chown(folder, "nobody")
        user = {"user": "nobody"}
    data = str(folder / "data")
    try:
        subprocess.run(
            [programs / "initdb", "-D", data, "-U", "app", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"],
            check=True, capture_output=True, cwd=folder, timeout=60, **user,
        )  # fmt: skip
        server = subprocess.Popen(
            [programs / "postgres", "-D", data, "-k", folder, "-c", "listen_addresses=", "-c", "fsync=off"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder, **user,
        )  # fmt: skip
        try:
            _wait_for(f"host={folder} user=app dbname=postgres")
            yield f"postgresql+psycopg://app:canary@/postgres?host={folder}"
        finally:
            server.terminate()
            server.wait(GUARD)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(address: str) -> None:
    """Another program's readiness has no event to await."""
    ends = time.monotonic() + GUARD
    while True:
        try:
            psycopg.connect(address).close()
        except psycopg.OperationalError:
            assert time.monotonic() < ends, "PostgreSQL doesn't start"
            time.sleep(0.05)
        else:
            return


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of each database; what a test or module makes there it drops."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path_factory.mktemp('database') / 'app.db'}"
    return str(request.getfixturevalue("postgres"))
