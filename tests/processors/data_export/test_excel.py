"""Excel: what openpyxl reads of it."""

from __future__ import annotations

import tempfile
import zipfile
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from redqueue.processors.data_export import ExcelWriter

from .conftest import written


def sheets(data: bytes) -> list[Any]:
    return list(openpyxl.load_workbook(BytesIO(data)).worksheets)


def values(sheet: Any) -> list[tuple[Any, ...]]:
    return list(sheet.iter_rows(values_only=True))


def test_rows_are_read_back() -> None:
    rows = [(1, "Ada", 1.5, True, None), (-2, "Zoë\nand <b>", 0.25, False, None)]
    (sheet,) = sheets(written(ExcelWriter(), list("abcde"), rows))
    assert values(sheet) == [tuple("abcde"), *rows]
    assert sheet.freeze_panes == "A2" and sheet["A1"].font.bold


@pytest.mark.parametrize(
    "text", ['=HYPERLINK("http://evil.example","click")', "\t=1+1", "\uff1d1+1", "+1", "-1", "@A1"]
)
def test_no_text_is_a_formula(text: str) -> None:
    """X28: in Excel."""
    data = written(ExcelWriter(), [text], [(text,)])
    (sheet,) = sheets(data)
    for cell in (sheet["A1"], sheet["A2"]):
        assert (cell.value, cell.data_type, cell.quotePrefix) == (text, "s", True)
    with zipfile.ZipFile(BytesIO(data)) as archive:
        assert b"<f" not in archive.read("xl/worksheets/sheet1.xml")


def test_no_text_is_a_link_or_a_number() -> None:
    data = written(ExcelWriter(), ["x", "y"], [("https://a.example", "007")])
    (sheet,) = sheets(data)
    assert values(sheet)[1] == ("https://a.example", "007") and sheet["A2"].hyperlink is None
    assert not sheet["A2"].quotePrefix


def test_times_are_times() -> None:
    berlin = timezone(timedelta(hours=2))
    row = (datetime(2026, 1, 2, 3, 4, 5), datetime(2026, 1, 2, 3, tzinfo=berlin), date(2026, 1, 2), time(3, 4))
    (sheet,) = sheets(written(ExcelWriter(), list("abcd"), [row]))
    assert [cell.is_date for cell in sheet[2]] == [True] * 4
    assert values(sheet)[1] == (row[0], datetime(2026, 1, 2, 1), datetime(2026, 1, 2), time(3, 4))
    assert sheet["C2"].number_format == "yyyy-mm-dd"


def test_what_excel_has_no_number_for_is_text() -> None:
    row = (date(1800, 1, 2), time(3, 4, tzinfo=UTC), 2**60, Decimal("1234567890.123456789"), Decimal("1.10"))
    (sheet,) = sheets(written(ExcelWriter(), list("abcde"), [row]))
    assert values(sheet)[1] == ("1800-01-02", "03:04:00+00:00", str(2**60), "1234567890.123456789", 1.1)


def test_zero_is_a_number_and_no_text_has_an_exponent() -> None:
    row = (Decimal("0E-8"), Decimal("0E-20"), Decimal("1E-20"))
    (sheet,) = sheets(written(ExcelWriter(), list("abc"), [row]))
    assert values(sheet)[1] == (0, 0, "0.00000000000000000001")


def test_times_at_the_ends_of_the_calendar_are_text() -> None:
    east, west = timezone(timedelta(hours=2)), timezone(timedelta(hours=-2))
    row = (datetime.min.replace(tzinfo=east), datetime.max.replace(tzinfo=west))
    (sheet,) = sheets(written(ExcelWriter(), list("ab"), [row]))
    assert values(sheet)[1] == tuple(value.isoformat() for value in row)


def test_long_text_is_cut_as_excel_counts_it() -> None:
    (sheet,) = sheets(written(ExcelWriter(), ["x", "y"], [("a" * 40_000, "\U0001f600" * 20_000)]))
    assert values(sheet)[1] == ("a" * 32_767, "\U0001f600" * 16_383)


def test_more_rows_than_a_sheet_has_go_to_further_sheets() -> None:
    every = sheets(written(ExcelWriter(most_rows=3), ["x"], [(n,) for n in range(5)]))
    assert [sheet.title for sheet in every] == ["Rows", "Rows 2", "Rows 3"]
    assert [values(sheet) for sheet in every] == [[("x",), (0,), (1,)], [("x",), (2,), (3,)], [("x",), (4,)]]


def test_no_rows_are_a_header() -> None:
    assert [values(sheet) for sheet in sheets(written(ExcelWriter(), ["x"], []))] == [[("x",)]]


@pytest.mark.parametrize("end", ["close", "abandon"])
def test_nothing_is_left_in_the_temporary_folder(end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    file, writer = BytesIO(), ExcelWriter(most_rows=10)
    writer.open(file, ["x"], title="")
    for n in range(100):
        writer.row([n])
    assert list(tmp_path.iterdir())
    getattr(writer, end)()
    assert not list(tmp_path.iterdir())
    assert bool(file.getvalue()) is (end == "close")
