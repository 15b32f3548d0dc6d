"""PDF: what pypdf reads of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import reportlab
from pypdf import PageObject, PdfReader

from redqueue.errors import ConfigurationError, Discard, InvalidOption
from redqueue.processors.data_export import PdfWriter
from redqueue.processors.data_export.formats.pdf_page import fair_widths, lines_of

from .conftest import written


def pages(
    columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = "rows", **settings: Any
) -> list[PageObject]:
    return list(PdfReader(BytesIO(written(PdfWriter(**settings), columns, rows, title))).pages)


def lines(page: PageObject) -> list[str]:
    return [line.strip() for line in page.extract_text().splitlines() if line.strip()]


def test_a_long_table_pages_and_repeats_its_header() -> None:
    found = pages(["id", "name"], [(n, f"name-{n}") for n in range(300)], "leads")
    assert len(found) > 3
    for number, page in enumerate(found, 1):
        text = lines(page)
        assert text[0] == "leads" and {"id", "name"} <= set(text)
        assert f"Page {number} of" in text and str(len(found)) in text
    every = [line for page in found for line in lines(page)]
    assert [line for line in every if line.startswith("name-")] == [f"name-{n}" for n in range(300)]
    assert every[-1] == "300 rows"


@pytest.mark.parametrize(
    "text", ["<b>bold</b>", "a & b &lt; &#0;", '<img src="file:///etc/passwd"/>', "<para>", "%(x)s", "(\\) Tj ET"]
)
def test_text_is_never_markup(text: str) -> None:
    (page,) = pages([text], [(text,)], text)
    assert lines(page).count(text) == 3  # the title, the header and the cell
    assert not page.images and "/Annots" not in page


def test_fractions_are_summed_exactly_and_whole_numbers_are_ids() -> None:
    rows = [(7, 0.1, Decimal("1.10"), "x"), (8, 0.2, Decimal("2.20"), "y"), (9, None, None, "z")]
    (page,) = pages(["id", "float", "decimal", "text"], rows)
    assert lines(page)[-3:] == ["0.3", "3.30", "3 rows"]


def test_numbers_and_sums_have_no_exponent() -> None:
    (page,) = pages(["a", "b"], [(Decimal("0E-8"), "x"), (Decimal("1E-8"), "y")])
    assert "0.00000001" in page.extract_text() and "E-" not in page.extract_text()


def test_totals_are_of_the_columns_that_are_named() -> None:
    (page,) = pages(["n", "m", "t"], [(7, 1.5, "a"), (8, 2.5, "b")], totals=("n", "t"))
    assert lines(page)[-2:] == ["15", "2 rows"]


def test_no_rows_are_a_header_and_a_count() -> None:
    (page,) = pages(["id"], [])
    assert lines(page)[-2:] == ["id", "0 rows"]


def test_wide_tables_lie_across() -> None:
    upright = pages(["a"], [("x",)])[0].mediabox
    across = pages(["a", "b"], [("x" * 60, "y" * 90)])[0].mediabox
    assert upright.width < upright.height
    assert (across.width, across.height) == (upright.height, upright.width)


def test_long_text_is_broken_into_lines_and_clipped_at_twelve() -> None:
    text = " ".join(f"word{n}" for n in range(120))
    columns = [f"c{n}" for n in range(10)]
    (page,) = pages(columns, [(text, "w" * 5_000, *range(8))])
    found = lines(page)
    for first, joint in (("word", " "), ("ww", "")):
        cell = [line for line in found if line.startswith(first)]
        assert len(cell) == 12 and cell[-1].endswith("\u2026")
        assert (text if joint else "w" * 5_000).startswith(joint.join(cell).rstrip("\u2026"))


def test_more_rows_or_columns_than_there_is_room_for_are_refused() -> None:
    with pytest.raises(Discard, match=r"a PDF has at most 3 rows: filter them, or take csv"):
        pages(["x"], [(n,) for n in range(4)], most_rows=3)
    with pytest.raises(Discard, match=r"room for 32 columns, not 33"):
        pages([f"c{n}" for n in range(33)], [])
    assert pages([f"c{n}" for n in range(32)], [])


def test_another_font_has_its_own_letters() -> None:
    vera = Path(reportlab.__file__).parent / "fonts" / "VeraIt.ttf"
    (page,) = pages(["x"], [("Zoë €",)], font=str(vera))
    assert "Zoë €" in lines(page)
    assert {font.get_object()["/BaseFont"].split("+")[-1] for font in page["/Resources"]["/Font"].values()} >= {  # type: ignore[index]
        "BitstreamVeraSans-Oblique"
    }


def test_a_font_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "not.ttf").write_bytes(b"no font")
    for path in (tmp_path / "not.ttf", tmp_path / "missing.ttf"):
        with pytest.raises(ConfigurationError, match="no TrueType font"):
            pages(["x"], [], font=str(path))
    with pytest.raises(InvalidOption, match="size is 4 to 24 points"):
        PdfWriter(size=100)


def test_narrow_columns_get_what_they_need_and_the_wide_ones_share_the_rest() -> None:
    assert fair_widths([10, 30], 80) == [20, 60]
    assert fair_widths([500, 30, 400], 300) == [135, 30, 135]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [""]),
        ("a b", ["a b"]),
        ("aaa bbb ccc", ["aaa", "bbb", "ccc"]),
        ("aaaaaaa b", ["aaaaa", "aa b"]),
        ("a\nb\r\nc", ["a", "b", "c"]),
        ("a\tb\x00", ["a b "]),
        ("\n", [""]),
    ],
)
def test_text_in_lines(text: str, expected: list[str]) -> None:
    assert lines_of(text, 5, lambda line: float(len(line))) == expected


def test_a_column_narrower_than_a_letter_ends() -> None:
    assert lines_of("abc", 0.5, lambda line: float(len(line))) == ["a", "b", "c"]


def places(page: PageObject) -> list[tuple[float, float]]:
    """Where its texts begin."""
    found: list[tuple[float, float]] = []

    def visit(text: str, cm: Any, tm: Any, font: Any, size: float) -> None:
        if text.strip() and (tm[4], tm[5]) != (0, 0):  # the number of pages is drawn in a form of its own
            found.append((tm[4], tm[5]))

    page.extract_text(visitor_text=visit)
    return found


def test_nothing_is_drawn_off_the_page() -> None:
    rows = [(n, "Ada Lovelace " * (n % 9), "w" * 300, n * 1.25) for n in range(200)]
    for page in pages(["id", "a long name of a column", "text", "amount"], rows, "t" * 500):
        found = places(page)
        assert found
        assert all(36 <= x <= page.mediabox.width - 36 and 20 <= y <= page.mediabox.height - 20 for x, y in found)
