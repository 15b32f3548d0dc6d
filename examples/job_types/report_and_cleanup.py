"""A monthly report and a cleanup as delayed jobs: `python examples/job_types/report_and_cleanup.py`.

It needs `pip install 'redqueue-jobs[embedded,export]'`. Both are built-in functions, which work on what the worker's
module lists and nothing else: one source of rows, and one table whose old rows may go. The jobs wait in the server
until they are due, whatever becomes of the program that added them.
"""

from __future__ import annotations

import argparse
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec

from redqueue import JobQueueService, ServiceRegistry, Worker, embedded
from redqueue.processors.data_export import TableSource
from redqueue.processors.storage import Storage
from redqueue.tasks import builtin_tasks
from redqueue.tasks.cleanup import CleanupResult, CleanupTable
from redqueue.tasks.report import ReportResult

QUEUE = "generic-task"
LOGINS = 800
KEPT_DAYS = 365


def register(registry: ServiceRegistry, database: Path, storage: Storage) -> None:
    """What a worker's module does."""
    url = f"sqlite:///{database}"
    orders = TableSource(url, "orders", ["status", "cents", "created_at"], sub_account="sub_account_id")
    logins = CleanupTable(url, "logins", key="id", date_column="created_at", least_days=90)
    registry.use(builtin_tasks(sources={"orders": orders}, tables={"logins": logins}, storage=storage))


def fill(database: Path) -> None:
    """Orders of a quarter, and a login a day until now."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(
            "CREATE TABLE orders (id INTEGER PRIMARY KEY, sub_account_id TEXT, status TEXT, cents INT, created_at DATE)"
        )
        connection.executemany("INSERT INTO orders VALUES (?, ?, ?, ?, ?)", orders())
        connection.execute("CREATE TABLE logins (id INTEGER PRIMARY KEY, created_at TIMESTAMP)")
        now = datetime.now(UTC).replace(tzinfo=None)
        days = ((n, (now - timedelta(days=n)).isoformat(" ")) for n in range(LOGINS))
        connection.executemany("INSERT INTO logins VALUES (?, ?)", days)


def orders() -> Iterator[tuple[int, str, str, int, str]]:
    """Three a day, every tenth sent back, and some of another account."""
    for n in range(270):
        day = date(2026, 1, 1) + timedelta(days=n // 3)
        account = "sub_456" if n % 27 == 13 else "sub_123"
        yield n, account, "returned" if n % 10 == 9 else "paid", 1_000 + n, day.isoformat()


def add(service: JobQueueService, delay: float) -> tuple[str, str, str]:
    """A dry run at once; the report and the cleanup later. With ``at=`` they would be due at a date."""
    dry = service.execute_task(
        "What would go", "cleanup_old_data", {"table_name": "logins", "days_old": KEPT_DAYS}, context={"dry_run": True}
    )
    report = service.execute_task(
        "Monthly report",
        "generate_report",
        {"type": "monthly", "filters": {"created_at": {"from": "2026-01-01", "to": "2026-03-31"}}},
        context={"sums": ["cents"], "group_by": ["status"], "format": "pdf", "title": "The first quarter"},
        sub_account_id="sub_123",
        delay=delay,
    )
    cleanup = service.execute_task(
        "Cleanup", "cleanup_old_data", {"table_name": "logins", "days_old": KEPT_DAYS}, delay=delay
    )
    return dry, report, cleanup


def show_report(report: ReportResult, files: Path) -> bool:
    """Print the figures; whether there is a file, too."""
    print(f"{report.rows} orders, {report.sums['cents']} cents")
    for month in report.series:
        print(f"  {month.period}   {month.rows:>3} orders, {month.sums['cents']} cents")
    for group in report.groups:
        print(f"  {group.key['status']:<9} {group.rows:>3} orders, {group.sums['cents']} cents")
    assert report.file is not None
    content = (files / report.file.key).read_bytes()
    print(f"  file      {report.file.key}, {len(content):,} bytes")
    return content.startswith(b"%PDF-") and len(content) == report.file.size


def main(url: str, folder: Path, delay: float) -> int:
    """Add the jobs, wait until they are due, and look at what they did."""
    fill(folder / "shop.db")
    registry = ServiceRegistry()
    register(registry, folder / "shop.db", Storage(folder / "files"))
    with JobQueueService(url) as service:
        dry, report, cleanup = add(service, delay)
        for name, job_id in (("report", report), ("cleanup", cleanup)):
            status = service.get_job_status(QUEUE, job_id)
            assert status is not None
            assert status.due_at is not None
            wait = (status.due_at - status.created_at).total_seconds()
            print(f"{name}: {status.state}, due in {wait:.1f} s")
        queue = service.queue(QUEUE)
        with Worker([QUEUE], url, registry=registry).in_thread():
            would = msgspec.convert(queue.job(dry).result(30), CleanupResult)
            print(f"a dry run: {would.deleted} of {LOGINS} logins are older than {KEPT_DAYS} days")
            made = msgspec.convert(queue.job(report).result(30), ReportResult)
            gone = msgspec.convert(queue.job(cleanup).result(30), CleanupResult)
    is_file = show_report(made, folder / "files")
    with closing(sqlite3.connect(folder / "shop.db")) as connection:
        [left] = connection.execute("SELECT count(*) FROM logins").fetchone()
    print(f"{gone.deleted} logins are gone, {left} are left")
    return 0 if is_file and would.deleted == gone.deleted == LOGINS - left > 0 else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A report and a cleanup as delayed jobs.")
    parser.add_argument("--delay", type=float, default=1, help="seconds until they are due")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try:
            code = main(f"embedded://{folder}/data", Path(folder), options.delay)
        finally:
            embedded.stop(f"{folder}/data")
    raise SystemExit(code)
