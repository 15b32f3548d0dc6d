"""generate_report: counts and exact sums of a source's rows, as data and as files."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from hashlib import sha256
from typing import Any

import msgspec
import openpyxl
import pytest
from pypdf import PdfReader
from sqlalchemy import Column, DateTime, Integer, MetaData, Numeric, String, Table, create_engine

from redqueue.errors import Discard, InvalidOption, JobCancelled
from redqueue.processors.data_export import AskedBy, ExportSource, Filters, TableSource
from redqueue.processors.storage import Storage
from redqueue.tasks.report import GenerateReport
from redqueue.tasks.report_pdf import pdf_report
from redqueue.tasks.report_table import table_of
from redqueue.tasks.reports import Counted, Figures, Group, ReportPlan
from redqueue.testing import job_context

from .conftest import Tasks

COLUMNS = ("created_at", "status", "amount", "paid_on")
ROWS: list[tuple[Any, ...]] = [
    (datetime(2026, 1, 31, 23, 30), "won", Decimal("10.10"), date(2026, 2, 1)),
    # In UTC, this one is of February.
    (datetime(2026, 1, 31, 22, 0, tzinfo=timezone(timedelta(hours=-5))), "won", Decimal("0.20"), None),
    (datetime(2026, 4, 1, tzinfo=UTC), None, 3, date(2026, 4, 2)),
    ("2026-04-30T12:00:00+00:00", "=lost()", None, None),
    (None, "won", Decimal(-1), None),
]


@dataclass
class Rows(ExportSource):
    """A source of what it is given; it takes a filter for the status."""

    given: Iterable[Sequence[Any]] | Callable[[], Iterable[Sequence[Any]]] = field(default_factory=lambda: ROWS)
    columns: Sequence[str] = COLUMNS
    asked: list[tuple[str | None, str | None]] = field(default_factory=list)
    closed: int = 0

    def check_filters(self, filters: Filters) -> None:
        if set(filters) - {"status"}:
            raise Discard("this source filters by status alone")

    def rows(self, columns: Sequence[str], filters: Filters, asker: AskedBy) -> Iterator[Sequence[object]]:
        self.asked.append((asker.sub_account_id, asker.user_id))
        places = [list(self.columns).index(name) for name in columns]
        try:
            for row in self.given() if callable(self.given) else self.given:
                if "status" not in filters or row[1] == filters["status"]:
                    yield [row[place] for place in places]
        finally:
            self.closed += 1


def report(source: ExportSource, type: str = "summary", filters: Any = None, /, **given: Any) -> Any:
    return GenerateReport({"sales": source})(type, filters, job_context(given=given))


# -- as data


@pytest.mark.parametrize("name", ["generate_report", "generateReport"])
def test_a_monthly_report_has_every_month_and_exact_sums(tasks: Tasks, name: str) -> None:
    source = Rows()
    result = tasks.result(
        {"sources": {"sales": source}}, name, "monthly", {}, context={"sums": "amount"},
        subAccountId="sub_1", userId="u",
    )  # fmt: skip
    assert result == {
        "type": "monthly",
        "source": "sales",
        "rows": 5,
        "sums": {"amount": "12.30"},
        "undated": 1,
        "series": [
            {"rows": 1, "sums": {"amount": "10.10"}, "period": "2026-01"},
            {"rows": 1, "sums": {"amount": "0.20"}, "period": "2026-02"},
            {"rows": 0, "sums": {"amount": 0}, "period": "2026-03"},
            {"rows": 2, "sums": {"amount": 3}, "period": "2026-04"},
        ],
        "groups": [],
        "file": None,
    }
    assert source.asked == [("sub_1", "u")] and source.closed == 1


def test_a_daily_report_by_a_column_of_dates() -> None:
    result = report(Rows(), "daily", date_column="paid_on")
    assert [(one.period, one.rows) for one in result.series][:2] == [("2026-02-01", 1), ("2026-02-02", 0)]
    assert len(result.series) == 61 and result.undated == 3


def test_a_summary_by_groups_has_the_largest_first() -> None:
    result = report(Rows(), "summary", group_by=["status"], sums=["amount"])
    assert [(one.key, one.rows, one.sums) for one in result.groups] == [
        ({"status": "won"}, 3, {"amount": "9.30"}),
        ({"status": None}, 1, {"amount": 3}),
        ({"status": "=lost()"}, 1, {"amount": 0}),
    ]
    assert result.series == [] and report(Rows()).rows == 5


def test_filters_are_the_sources(tasks: Tasks) -> None:
    assert report(Rows(), "summary", {"status": "won"}).rows == 3
    parts = {"sources": {"sales": Rows()}}
    assert "filters by status alone" in tasks.error(parts, "generate_report", "summary", {"amount": 1})


def test_sums_are_exact() -> None:
    def amounts() -> Iterator[tuple[Any, ...]]:
        for _ in range(1_000):
            yield None, None, 0.1, None
        yield None, None, 10**30, None

    assert report(Rows(amounts), sums=["amount"]).sums == {"amount": "1" + "0" * 27 + "100.0"}
    big = report(Rows([(None, None, 2**53, None)]), sums=["amount"])
    assert big.sums == {"amount": str(2**53)}, "not every reader of JSON has such numbers"


def test_a_registered_report_takes_no_columns_from_jobs(tasks: Tasks) -> None:
    plan = ReportPlan(source="sales", every="month", group_by=("status",), sums=("amount",))
    parts = {"sources": {"sales": Rows(), "leads": Rows([])}, "reports": {"churn": plan}}
    result = tasks.result(parts, "generate_report", "churn", context={"source": "leads", "group_by": "paid_on"})
    assert result["source"] == "sales" and result["groups"][0]["key"] == {"status": "won"}
    assert len(result["series"]) == 4
    assert tasks.result(parts, "generate_report", "summary", context={"source": "leads"})["rows"] == 0


@pytest.mark.parametrize(
    ("type", "given", "why"),
    [
        ("yearly", {}, "no report 'yearly'; there are: daily, monthly, summary"),
        ("summary", {"source": "users"}, "no source 'users'; there are: sales"),
        ("monthly", {"date_column": "password"}, "no column 'password'"),
        ("summary", {"group_by": ["password"]}, "no column 'password' for a report; there are 'created_at'"),
        ("summary", {"sums": 7}, "sums must be the name of a field"),
        ("summary", {"sums": ["amount"] * 2}, "each once"),
        ("summary", {"sums": "status"}, "something else than numbers"),
        ("daily", {"date_column": "amount"}, "something else than dates"),
        ("summary", {"format": "csv"}, "no storage for reports"),
        ("summary", {"title": 5}, "title in the job's context must be text"),
    ],
)
def test_what_can_not_be_reported_fails_at_once(tasks: Tasks, type: str, given: Any, why: str) -> None:
    assert why in tasks.error({"sources": {"sales": Rows()}}, "generate_report", type, None, context=given)


def test_a_source_must_be_named_where_there_are_several() -> None:
    both = GenerateReport({"sales": Rows(), "leads": Rows()})
    with pytest.raises(Discard, match=r"needs its source.*there are: leads, sales"):
        both("summary", None, job_context())


@pytest.mark.parametrize("value", [True, float("nan"), Decimal("Infinity"), Decimal("1e999999"), "12"])
def test_what_has_no_exact_sum_is_refused(value: Any) -> None:
    with pytest.raises(Discard, match="'amount' has"):
        report(Rows([(None, None, value, None)]), sums=["amount"])


# -- bounds


def test_groups_and_periods_are_bounded() -> None:
    source = Rows(lambda: ((None, str(n), 1, None) for n in range(1_001)))
    with pytest.raises(Discard, match="more than 1,000 groups"):
        report(source, group_by="status")
    assert source.closed == 1
    far = Rows([(date(1, 1, 1), None, 1, None), (date(9999, 12, 31), None, 1, None)])
    with pytest.raises(Discard, match="0001-01-01 to 9999-12-31, are more than 4,000 periods"):
        report(far, "daily")
    most = Rows([(date(9999, 12, 31) - timedelta(days=n), None, 1, None) for n in (0, 3_999)])
    assert len(report(most, "daily").series) == 4_000


def test_memory_does_not_grow_with_the_rows() -> None:
    def many(count: int) -> Callable[[], Iterator[tuple[Any, ...]]]:
        return lambda: ((date(2026, 1, 1 + n % 28), str(n % 50), Decimal(n), None) for n in range(count))

    peaks = []
    for count in (1_000, 20_000):
        tracemalloc.start()
        report(Rows(many(count)), "daily", group_by="status", sums="amount")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 2 * peaks[0] + 100_000


def test_a_result_is_never_longer_than_a_mebibyte(storage: Storage) -> None:
    names = [f"column_{n}" for n in range(10)]
    rows = [tuple(f"{n} " + "\U0001f600" * 99 for _ in names) for n in range(1_000)]
    source = Rows(lambda: iter(rows), columns=names)
    with pytest.raises(Discard, match="longer than 1 MiB"):
        report(source, group_by=names)
    context = job_context(given={"group_by": names, "format": "csv"})
    result = GenerateReport({"sales": source}, storage=storage)("summary", None, context)
    assert (result.groups, result.rows) == ([], 1_000) and result.file is not None and result.file.size > 2**20
    assert len(msgspec.json.encode(result)) < 1_000


def test_a_cancelled_report_stops_and_closes_its_rows() -> None:
    source = Rows(lambda: ((None, None, n, None) for n in range(10**9)))
    with pytest.raises(JobCancelled):
        GenerateReport({"sales": source})("summary", None, job_context(cancelled=True))
    assert source.closed == 1


# -- as files


def file_of(tasks: Tasks, storage: Storage, format: str, **given: Any) -> tuple[Any, bytes]:
    parts = {"sources": {"sales": Rows()}, "storage": storage}
    context = {"format": format, "sums": ["amount"], "group_by": "status", **given}
    result = tasks.result(parts, "generateReport", "monthly", {}, context=context, job_id="j", subAccountId="a/b")
    with storage.reading(result["file"]["key"]) as file:
        content = file.read()
    assert result["file"] == {
        "key": f"reports/a~2Fb/monthly/j.{ {'excel': 'xlsx', 'json': 'jsonl'}.get(format, format) }",
        "size": len(content),
        "sha256": sha256(content).hexdigest(),
        "link": f"https://files.example/{result['file']['key']}",
    }
    assert result["rows"] == 5 and len(result["series"]) == 4
    return result, content


def test_as_csv(tasks: Tasks, storage: Storage) -> None:
    _, content = file_of(tasks, storage, "csv")
    rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"))))
    assert rows[:3] == [
        ["part", "period", "status", "rows", "sum of amount"],
        ["total", "", "", "5", "12.30"],
        ["period", "2026-01", "", "1", "10.10"],
    ]
    assert rows[-1][2] == "'=lost()", "a spreadsheet runs no text of the rows"


def test_as_json_lines(tasks: Tasks, storage: Storage) -> None:
    _, content = file_of(tasks, storage, "json")
    lines = [json.loads(line) for line in content.splitlines()]
    assert len(lines) == 1 + 4 + 3 and lines[1]["period"] == "2026-01"


def test_as_an_excel_workbook_with_a_chart(tasks: Tasks, storage: Storage) -> None:
    _, content = file_of(tasks, storage, "excel", title="=HYPERLINK(1)")
    sheet = openpyxl.load_workbook(io.BytesIO(content))["Report"]
    cells = [[cell.value for cell in row] for row in sheet.iter_rows()]
    assert cells[1] == ["total", None, None, 5, 12.3]
    assert {cell.data_type for row in sheet.iter_rows() for cell in row} <= {"s", "n"}
    with zipfile.ZipFile(io.BytesIO(content)) as book:
        chart = book.read("xl/charts/chart1.xml").decode()
    assert "<c:barChart>" in chart and "Report!$E$3:$E$6" in chart and "Report!$B$3:$B$6" in chart
    assert "<a:t> =HYPERLINK(1)</a:t>" in chart.replace(' xml:space="preserve"', "")


def test_as_a_pdf_with_a_chart(tasks: Tasks, storage: Storage) -> None:
    _, content = file_of(tasks, storage, "pdf", title="Sales <b>2026</b> & more")
    reader = PdfReader(io.BytesIO(content))
    text = reader.pages[0].extract_text()
    for shown in ("Sales <b>2026</b> & more", "sum of amount", "2026-04", "12.30", "=lost()"):
        assert shown in text
    drawn = reader.pages[0].get_contents()
    assert drawn is not None and drawn.get_data().count(b" re ") == 3, "a bar for each month that has rows"


@pytest.mark.parametrize("type", ["daily", "summary"])
@pytest.mark.parametrize("format", ["pdf", "excel"])
@pytest.mark.parametrize("rows", [[], [(date(2026, 1, 1) + timedelta(days=n), "s" * n, -n, None) for n in range(99)]])
def test_charts_of_nothing_and_of_much(storage: Storage, type: str, format: str, rows: list[Any]) -> None:
    given = {"format": format, "group_by": ["status", "amount"], "sums": "amount"}
    make = GenerateReport({"sales": Rows(rows)}, storage=storage)
    result = make(type, None, job_context(given=given))
    assert result.file is not None and result.rows == len(rows)


def test_a_key_that_has_a_columns_name_stays_apart(storage: Storage) -> None:
    source = Rows([("a", "b")], columns=("rows", "period"))
    context = job_context(given={"group_by": ["rows", "period"], "format": "csv"})
    result = GenerateReport({"sales": source}, storage=storage)("summary", None, context)
    assert result.file is not None
    with storage.reading(result.file.key) as file:
        assert file.read().decode("utf-8-sig").splitlines()[0] == '"part","rows (group)","period (group)","rows"'


def test_numbers_that_no_chart_can_draw_are_written_as_text(storage: Storage) -> None:
    rows: list[tuple[Any, ...]] = [(date(2026, 1, 1), None, Decimal("9e300"), None)] * 10
    rows += [(date(2026, 1, 2), None, 12345678901234567, None)]
    make = GenerateReport({"sales": Rows(rows)}, storage=storage)
    for format in ("excel", "pdf", "csv", "json"):
        context = job_context(given={"format": format, "sums": "amount"}, job_id=format)
        result = make("daily", None, context)
        assert result.file is not None and result.series[1].sums == {"amount": "12345678901234567"}
    with storage.reading("reports/~all/daily/test/excel.xlsx") as file:
        sheet = openpyxl.load_workbook(io.BytesIO(file.read()))["Report"]
    assert sheet["D4"].value == "12345678901234567"


def test_a_number_of_many_digits_is_written_exactly(storage: Storage) -> None:
    exact = Decimal("0.10000000000000000000000000000000001")  # 28 digits of it would be 0.1
    make = GenerateReport({"sales": Rows([(date(2026, 1, 1), None, exact, None)])}, storage=storage)
    result = make("daily", None, job_context(given={"format": "excel", "sums": "amount"}))
    assert result.file is not None
    with storage.reading(result.file.key) as file:
        sheet = openpyxl.load_workbook(io.BytesIO(file.read()))["Report"]
    assert sheet["D2"].value == str(exact)


@pytest.mark.parametrize("amount", ["1e-101", "1e-310", "5e-324", "1e-400"])
def test_numbers_too_small_for_an_axis_have_no_chart(amount: str) -> None:
    total = Counted(rows=1, sums={"amount": amount})
    tiny, nothing, one = (Group(rows=1, sums={"amount": sum_}, key={"status": "x"}) for sum_ in (amount, "0", "1"))
    for groups, has_chart in (([tiny, nothing], False), ([nothing], True), ([tiny, one], True)):
        table = table_of(Figures(total, 0, [], groups))
        assert (table.chart is not None) == has_chart
        assert pdf_report(table, "Title").startswith(b"%PDF")


def test_a_step_that_there_is_not_is_refused() -> None:
    with pytest.raises(InvalidOption, match="every is 'day', 'month' or None, not 'week'"):
        ReportPlan(every="week")  # type: ignore[arg-type]


def test_an_unknown_format_is_refused_before_a_row_is_read(storage: Storage) -> None:
    source = Rows()
    with pytest.raises(Discard, match="no format 'docx'; there are: csv, excel, pdf, json"):
        GenerateReport({"sales": source}, storage=storage)("summary", None, job_context(given={"format": "docx"}))
    assert not source.asked


# -- from a database


def test_from_a_table(tasks: Tasks, database: str) -> None:
    metadata, engine = MetaData(), create_engine(database)
    bookings = Table(
        "bookings",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("account", String(20)),
        Column("created_at", DateTime),
        Column("price", Numeric(10, 2) if "postgresql" in database else Integer),
    )
    metadata.create_all(engine)
    with engine.begin() as connection:
        rows = [
            {"id": n, "account": "ab"[n % 2], "created_at": datetime(2026, 1 + n % 3, 5), "price": n} for n in range(60)
        ]
        connection.execute(bookings.insert(), rows)
    source = TableSource(database, "bookings", ["created_at", "price"], sub_account="account")
    try:
        result = tasks.result(
            {"sources": {"bookings": source}}, "generateReport", "monthly", {"price": {"min": 10}},
            context={"sums": "price"}, subAccountId="a",
        )  # fmt: skip
    finally:
        metadata.drop_all(engine)
        engine.dispose()
    assert result["rows"] == 25 and float(result["sums"]["price"]) == sum(range(10, 60, 2))
    assert [one["period"] for one in result["series"]] == ["2026-01", "2026-02", "2026-03"]


def test_a_report_that_fails_in_the_middle_is_made_again_whole(tasks: Tasks, storage: Storage) -> None:
    failures = [ConnectionError("the database is gone")]

    def rows() -> Iterator[tuple[Any, ...]]:
        yield ROWS[0]
        if failures:
            raise failures.pop()
        yield ROWS[2]

    parts = {"sources": {"sales": Rows(rows)}, "storage": storage}
    result = tasks.result(parts, "generate_report", "monthly", context={"format": "csv"}, retries=1)
    assert result["rows"] == 2 and storage.exists(result["file"]["key"])
