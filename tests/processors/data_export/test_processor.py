"""Exports through a worker, from the job to the file."""

from __future__ import annotations

import csv
import json
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import openpyxl
import pytest
import sqlalchemy as sa
from pypdf import PdfReader

from redqueue import Queue
from redqueue.errors import Discard, InvalidOption, JobCancelled, Retry, Snooze
from redqueue.processors.data_export import CsvWriter, DataExportProcessor, PdfWriter, TableSource
from redqueue.processors.data_export.processor import BATCH
from redqueue.processors.storage import Storage
from redqueue.shapes import DataExportJobData
from redqueue.testing import job_context

from .conftest import GUARD, ROWS, Exports, Rows, Told

NOTICE = {"kind": "email", "recipients": ["ada@example.com"]}


# -- the file


def test_csv(exports: Exports, storage: Storage) -> None:
    result = exports.result(DataExportProcessor({"leads": Rows(ROWS)}, storage), job_id="job-1")
    data = exports.read(result.key)
    assert list(csv.reader(StringIO(data.decode(), newline=""))) == [
        ["id", "name", "amount"],
        ["1", "Ada", "1.5"],
        ["2", "Grace", "2.25"],
        ["3", "Zoë <b>", ""],
    ]
    assert result.key == "exports/sub_1/leads/job-1.csv" and exports.files() == [result.key]
    assert (result.format, result.rows, result.size) == ("csv", 3, len(data))
    assert result.sha256 == sha256(data).hexdigest()
    assert result.link == f"https://files.example/{result.key}"


def test_excel(exports: Exports, storage: Storage) -> None:
    result = exports.result(DataExportProcessor({"leads": Rows(ROWS)}, storage), {"format": "excel"})
    (sheet,) = openpyxl.load_workbook(BytesIO(exports.read(result.key))).worksheets
    assert list(sheet.iter_rows(values_only=True)) == [("id", "name", "amount"), *ROWS]
    assert result.key.endswith(".xlsx")


def test_pdf(exports: Exports, storage: Storage) -> None:
    result = exports.result(DataExportProcessor({"leads": Rows(ROWS)}, storage), {"format": "pdf"})
    (page,) = PdfReader(BytesIO(exports.read(result.key))).pages
    text = page.extract_text()
    assert text.startswith("leads") and "Zoë <b>" in text and "3.75" in text and "3 rows" in text


def test_json_lines(exports: Exports, storage: Storage) -> None:
    result = exports.result(DataExportProcessor({"leads": Rows(ROWS)}, storage), {"format": "json"})
    lines = exports.read(result.key).splitlines()
    assert [json.loads(line) for line in lines] == [
        dict(zip(("id", "name", "amount"), row, strict=True)) for row in ROWS
    ]


def test_in_a_child_process_too(exports: Exports, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'app.db'}"
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE leads (id INTEGER PRIMARY KEY, owner TEXT)"))
        connection.execute(sa.text("INSERT INTO leads VALUES (1, 'sub_1'), (2, 'sub_2'), (3, 'sub_1')"))
    engine.dispose()
    sources = {"leads": TableSource(url, "leads", ["id"], sub_account="owner")}
    processor = DataExportProcessor(sources, exports.storage, writers={"csv": partial(CsvWriter, bom=True)})
    result = exports.result(processor, execution="process")
    assert exports.read(result.key) == b'\xef\xbb\xbf"id"\r\n1\r\n3\r\n'


def test_the_columns_that_are_wanted_in_that_order(exports: Exports, storage: Storage) -> None:
    source = Rows(ROWS)
    result = exports.result(
        DataExportProcessor({"leads": source}, storage), {"columns": ["amount", "id"], "userId": "user_7"}
    )
    assert exports.read(result.key).splitlines()[:2] == [b'"amount","id"', b"1.5,1"]
    assert source.asked == [("sub_1", "user_7")] and source.closed == 1


def test_a_key_and_a_writer_of_ones_own(exports: Exports, storage: Storage) -> None:
    processor = DataExportProcessor(
        {"leads": Rows(ROWS)}, storage, key=lambda data, job_id: "all.pdf", writers={"pdf": partial(PdfWriter, size=20)}
    )
    assert exports.result(processor, {"format": "pdf"}).key == "all.pdf"
    bad = DataExportProcessor({"leads": Rows(ROWS)}, storage, key=lambda data, job_id: "../out.csv")
    assert "'..'" in exports.error(bad)
    assert exports.files() == ["all.pdf"]


def test_progress_is_told_by_rows(storage: Storage) -> None:
    rows = [(n, "x", 0.5) for n in range(2 * BATCH + 1)]
    for total, dones in ((4 * BATCH, [0.25, 0.5, 0.50025]), (BATCH, [1.0, 1.0, 1.0]), (None, [None] * 3)):
        context = job_context()
        data = DataExportJobData(sub_account_id="sub_1", export_type="leads", format="csv")
        DataExportProcessor({"leads": Rows(rows, total=total)}, storage).process(data, context)
        assert [done for done, _ in context.told] == dones
    assert context.told[-1][1] == "2,001 rows"


# -- partial failure


def test_a_source_that_breaks_leaves_nothing_and_is_tried_again(exports: Exports, storage: Storage) -> None:
    seen: list[list[str]] = []

    def broken_twice() -> Iterator[Sequence[object]]:
        for n in range(50_000):
            if n == 40_000 and len(seen) < 2:
                seen.append([name for name in exports.files() if "redqueue-" not in name])
                raise ConnectionError("the database went away")
            yield n, "x" * 20, None

    source = Rows(broken_twice)
    status = exports.status(DataExportProcessor({"leads": source}, storage))
    assert (status.status, status.attempts, seen, source.closed) == ("completed", 3, [[], []], 3)
    (only,) = exports.files()
    assert exports.read(only).count(b"\r\n") == 50_001


@pytest.mark.parametrize("format", ["csv", "excel", "pdf", "json"])
def test_a_job_that_fails_for_good_leaves_no_file(exports: Exports, storage: Storage, format: str) -> None:
    def broken() -> Iterator[Sequence[object]]:
        yield from ROWS
        raise ValueError("no more")

    source = Rows(broken)
    status = exports.status(DataExportProcessor({"leads": source}, storage), {"format": format}, retries=1)
    assert (status.status, source.closed, exports.files()) == ("failed", 2, [])


def test_a_row_of_another_length_is_an_error(exports: Exports, storage: Storage) -> None:
    status = exports.status(DataExportProcessor({"leads": Rows([(1, 2)])}, storage), retries=0)
    assert status.error == "ValueError: the source gave 2 values for 3 columns"


def test_a_job_run_again_replaces_its_file(exports: Exports, storage: Storage) -> None:
    processor = DataExportProcessor({"leads": Rows(ROWS)}, storage)
    data = DataExportJobData(sub_account_id="sub_1", export_type="leads", format="csv")
    first = processor.process(data, job_context())
    assert processor.process(data, job_context()) == first
    assert exports.files() == [first.key]


def test_a_cancelled_job_stops_and_leaves_nothing(exports: Exports, queue: Queue, storage: Storage) -> None:
    begun, told = threading.Event(), threading.Event()

    def endless() -> Iterator[Sequence[object]]:
        while True:
            yield 1, "x", None
            begun.set()
            assert told.is_set() or told.wait(GUARD)

    source = Rows(endless)
    worker = exports.worker(DataExportProcessor({"leads": source}, storage))
    job = queue.add("data-export", {"subAccountId": "s", "exportType": "leads", "format": "csv"})
    with worker.in_thread():
        assert begun.wait(GUARD)
        assert job.cancel("not needed") == "requested"
        told.set()
        with pytest.raises(JobCancelled):
            job.result(GUARD)
    assert exports.files() == [] and source.closed == 1


def test_a_run_that_lost_its_job_at_the_end_shows_nothing(exports: Exports, storage: Storage) -> None:
    context = job_context()

    def rows() -> Iterator[Sequence[object]]:
        yield from ROWS
        context.cancelled = True

    data = DataExportJobData(sub_account_id="sub_1", export_type="leads", format="csv")
    with pytest.raises(JobCancelled):
        DataExportProcessor({"leads": Rows(rows)}, storage).process(data, context)
    assert exports.files() == []


# -- bad inputs


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({"exportType": "bills"}, "there is no export type 'bills'; this worker has leads, users"),
        ({"columns": ["id", "secret"]}, "there is no column 'secret'; there are 'id', 'name', 'amount'"),
        ({"columns": ["id", "id"]}, "a column is wanted twice"),
        ({"filters": {"id": 1}}, "Rows takes no filters, and the job has 'id'"),
        ({"notify": [NOTICE]}, "asks for a notice by 'email', and this worker has no notifier"),
    ],
)
def test_what_will_never_do_fails_at_once(
    exports: Exports, storage: Storage, data: dict[str, Any], reason: str
) -> None:
    source = Rows(ROWS)
    assert reason in exports.error(DataExportProcessor({"leads": source, "users": source}, storage), data)
    assert source.asked == [] and exports.files() == []


def test_a_format_that_there_is_not_is_refused_by_its_shape(exports: Exports, storage: Storage) -> None:
    status = exports.status(DataExportProcessor({"leads": Rows(ROWS)}, storage), {"format": "xml"})
    assert status.error is not None and status.error.startswith("InvalidArguments")


def test_too_many_rows_are_refused(exports: Exports, storage: Storage) -> None:
    assert exports.result(DataExportProcessor({"leads": Rows(ROWS)}, storage, most_rows=3)).rows == 3
    processor = DataExportProcessor({"leads": Rows(ROWS)}, storage, most_rows=2)
    assert exports.error(processor) == "the export has more than 2 rows: filter them"


def test_settings_that_cannot_work_are_refused(storage: Storage) -> None:
    source = Rows(ROWS)
    with pytest.raises(InvalidOption, match="sources is empty"):
        DataExportProcessor({}, storage)
    with pytest.raises(InvalidOption, match="no format 'xml'; there are csv, excel, pdf, json"):
        DataExportProcessor({"leads": source}, storage, writers={"xml": CsvWriter})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidOption, match="most_rows"):
        DataExportProcessor({"leads": source}, storage, most_rows=0)


# -- notices


def test_the_user_is_told_in_the_application(exports: Exports, storage: Storage) -> None:
    told = Told()
    processor = DataExportProcessor({"leads": Rows(ROWS)}, storage, notifier=told)
    result = exports.result(processor, {"userId": "user_7"}, job_id="job-1")
    ((kind, recipients, message, _),) = told.sent
    assert (kind, recipients) == ("in_app", ("user_7",))
    assert message == f"Your export of leads is ready: 3 rows. {result.link}"
    (context,) = told.contexts
    assert context["key"] == result.key and context["user_id"] == "user_7" and context["event"] == "export-ready"
    assert result.unsent == []


@pytest.mark.parametrize(
    ("kinds", "data"),
    [({"in_app"}, {}), ({"email"}, {"userId": "user_7"}), ({"in_app"}, {"userId": "u", "notify": []})],
)
def test_nobody_is_told_who_is_not_known_or_not_wanted(
    exports: Exports, storage: Storage, kinds: set[str], data: dict[str, Any]
) -> None:
    told = Told(frozenset(kinds))
    exports.result(DataExportProcessor({"leads": Rows(ROWS)}, storage, notifier=told), data)
    assert told.sent == []


def test_those_that_the_job_names_are_told(exports: Exports, storage: Storage) -> None:
    told = Told()
    notices = [NOTICE, {"kind": "in_app", "recipients": ["u", "v"]}]
    processor = DataExportProcessor({"leads": Rows(ROWS)}, storage, notifier=told, message=lambda data, result: "Done")
    exports.result(processor, {"userId": "user_7", "notify": notices})
    assert [(kind, to, words) for kind, to, words, _ in told.sent] == [
        ("email", ("ada@example.com",), "Done"),
        ("in_app", ("u", "v"), "Done"),
    ]
    error = exports.error(processor, {"notify": [{"kind": "pigeon", "recipients": ["x"]}]})
    assert error == "this worker's notifier has no kind 'pigeon'; it has email, in_app"


def test_a_notice_that_fails_repeats_neither_the_export_nor_the_notices_before(
    exports: Exports, storage: Storage
) -> None:
    source, told = Rows(ROWS), Told(failures=0)
    real, told.error = told.send, ConnectionError("down")

    async def second_fails_once(kind: str, *arguments: Any, idempotency_key: str) -> None:
        told.failures = len(told.tries) + 1 if len(told.tries) == 1 else 0
        await real(kind, *arguments, idempotency_key=idempotency_key)

    setattr(told, "send", second_fails_once)  # noqa: B010
    notices = [NOTICE, {"kind": "in_app", "recipients": ["u"]}]
    status = exports.status(
        DataExportProcessor({"leads": source}, storage, notifier=told), {"notify": notices}, job_id="j"
    )
    assert (status.status, status.attempts) == ("completed", 2)
    assert len(source.asked) == 1
    assert [key.rpartition(":")[2] for key in told.tries] == ["0", "1", "1"] and len(set(told.tries)) == 2
    assert [kind for kind, *_ in told.sent] == ["email", "in_app"]


def test_the_keys_of_notices_are_the_jobs_own_though_its_id_is_used_again(storage: Storage) -> None:
    told, added = Told(), datetime(2026, 1, 1, tzinfo=UTC)
    processor = DataExportProcessor({"leads": Rows(ROWS)}, storage, notifier=told)
    data = DataExportJobData(sub_account_id="s", export_type="leads", format="csv", user_id="u")
    for created_at in (added, added, added + timedelta(milliseconds=1)):
        processor.process(data, job_context(queue="q" * 64, job_id="j" * 128, created_at=created_at))
    first, again, other = told.tries
    assert first == again != other and len(first) <= 200


def test_jobs_of_one_id_in_two_queues_have_a_file_each(exports: Exports, storage: Storage) -> None:
    processor = DataExportProcessor({"leads": Rows(ROWS)}, storage)
    data = DataExportJobData(sub_account_id="s", export_type="leads", format="csv")
    keys = [processor.process(data, job_context(queue=queue)).key for queue in ("data-export", "bulk", "slow")]
    assert keys[1] == "exports/s/leads/bulk/job-1.csv" and exports.files() == sorted(keys) and len(set(keys)) == 3


@pytest.mark.parametrize(
    ("error", "tries"), [(ConnectionError("token=canary"), 3), (Retry(0, "later"), 3), (Discard("no"), 1)]
)
def test_an_export_is_not_lost_by_a_notice_that_cannot_be_sent(
    exports: Exports, storage: Storage, error: Exception, tries: int
) -> None:
    source, told = Rows(ROWS), Told(failures=99, error=error)
    processor = DataExportProcessor({"leads": source}, storage, notifier=told)
    result = exports.result(processor, {"notify": [NOTICE]}, retries=2, job_id="j")
    assert (result.unsent, len(told.tries), len(source.asked)) == (["email"], tries, 1)
    (line,) = exports.queue.get_logs("j")
    assert f"the notice by email was not sent: {type(error).__name__}" in str(line) and "canary" not in str(line)


def test_a_notifier_can_ask_for_time(exports: Exports, storage: Storage) -> None:
    source, told = Rows(ROWS), Told(failures=2, error=Snooze(5, "too many"))
    processor = DataExportProcessor({"leads": source}, storage, notifier=told)
    status = exports.status(processor, {"notify": [NOTICE]}, retries=0)
    assert (status.status, status.attempts, len(told.sent), len(source.asked)) == ("completed", 1, 1, 1)


def test_a_file_that_is_gone_is_exported_again(storage: Storage) -> None:
    source, told = Rows(ROWS), Told(failures=1)
    processor = DataExportProcessor({"leads": source}, storage, notifier=told)
    data = DataExportJobData(sub_account_id="s", export_type="leads", format="csv", user_id="u")
    first = job_context()
    with pytest.raises(ConnectionError):
        processor.process(data, first)
    (checkpoint,) = first.checkpoints
    storage.delete(checkpoint["key"])
    assert processor.process(data, job_context(restored=checkpoint)).rows == 3
    assert len(source.asked) == 2 and len(told.sent) == 1


def test_a_checkpoint_of_another_release_is_no_obstacle(storage: Storage) -> None:
    data = DataExportJobData(sub_account_id="s", export_type="leads", format="csv")
    processor = DataExportProcessor({"leads": Rows(ROWS)}, storage)
    assert processor.process(data, job_context(restored={"file": 1})).rows == 3
