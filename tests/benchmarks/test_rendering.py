"""What a kept run becomes: medians, ratios, tables, the chart's data, and the pages."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec
import pytest
from benchmarks.harness import chart, pages, table
from benchmarks.harness.figures import BY_KEY, Figure, Run, comparable, factor

RUN: Final = msgspec.json.decode((Path(__file__).parent / "run.json").read_bytes(), type=Run)


def figure(name: str, key: str) -> Figure:
    entry = RUN.entry(name)
    assert entry is not None
    return entry.figure(key)


def shown(rows: table.Rows, name: str, title: str) -> str:
    """The cell of that row and of the column whose heading begins so."""
    column = next(n for n, heading in enumerate(rows[0]) if heading.startswith(title))
    return next(row[column] for row in rows if row[0] == name)


def test_the_median_of_the_rounds_counts_whatever_their_order() -> None:
    assert figure("redqueue", "process_async").median == 70_000
    assert figure("slow", "add_one").median == 1_050
    assert figure("slow", "process_plain").median is None


@pytest.mark.parametrize(
    ("key", "name", "times"),
    [("process_async", "slow", 70_000 / 1_500), ("process_async", "faster", 0.5), ("latency_p50", "slow", 4.0)],
)
def test_a_ratio_says_how_many_times_better_redqueue_is(key: str, name: str, times: float) -> None:
    found = factor(BY_KEY[key], figure("redqueue", key), figure(name, key))
    assert found == pytest.approx(times)


def test_delayed_jobs_are_compared_by_job_since_runs_differ_in_size() -> None:
    delayed = BY_KEY["delayed"]
    assert comparable(delayed, figure("redqueue", "delayed")) == pytest.approx(0.6 / 20_000)
    assert shown(table.speed(RUN), "slow", "delayed") == "6.00 of 2,000 (100x)"


def test_redqueue_itself_and_the_best_peer_are_shown_as_they_are() -> None:
    rows = table.speed(RUN)
    assert shown(rows, "redqueue", "process, `async def`") == "70,000"
    assert shown(rows, "floor", "process, `async def`") == "100,000 (0.70x)"
    assert shown(rows, "faster (Node)", "process, `async def`") == "140,000 (0.50x)"


def test_a_failed_figure_is_shown_as_failed_with_its_reason_in_the_notes() -> None:
    assert shown(table.speed(RUN), "slow", "process, plain") == "failed"
    notes = "\n".join(table.notes(RUN))
    assert notes.count("process, plain function failed: the worker ended: boom.") == 1


def test_a_figure_of_which_some_rounds_failed_is_marked() -> None:
    assert shown(table.speed(RUN), "slow", "add, one") == "1,050 (6.67x)*"
    assert "add, one at a time failed: the producer ended." in table.as_text(RUN)


def test_what_a_peer_does_not_have_is_not_available_and_the_notes_say_why() -> None:
    assert shown(table.speed(RUN), "slow", "add, bulk") == "n/a"
    assert "add, bulk n/a: slow adds one job a call." in "\n".join(table.notes(RUN))


def test_a_figure_that_nobody_asked_for_takes_no_column() -> None:
    assert not any(heading.startswith("add, 50") for heading in table.speed(RUN)[0])


def test_the_spread_of_the_rounds_is_shown() -> None:
    assert shown(table.spread(RUN), "redqueue", "process, `async def`") == "60,000..80,000"


def test_the_promises_are_beside_the_figures() -> None:
    text = table.as_text(RUN)
    assert shown(table.promises(RUN), "slow", "acknowledged") == "early"
    assert "lost on a crash" in text


def test_the_short_table_has_six_figures_and_names_the_best_peer_of_each_language() -> None:
    lines = table.as_short_markdown(RUN).splitlines()
    assert len(lines) == 2 + 6
    assert lines[2] == "| process, `async def`, jobs/s | 70,000 | 1,500 (46.7x) slow | 140,000 (0.50x) faster |"
    assert lines[3] == "| process, plain function, jobs/s | 16,000 | n/a | n/a |"


def test_every_row_of_a_table_has_as_many_cells_as_its_heading() -> None:
    for rows in (table.speed(RUN), table.cost(RUN), table.promises(RUN), table.spread(RUN)):
        assert {len(row) for row in rows} == {len(rows[0])}
        assert len(rows) == 1 + len(RUN.entries)


def test_the_chart_has_a_bar_for_each_figure_that_was_reached_longest_first() -> None:
    processed, added, fastest = chart.panels(RUN)
    assert processed.names == ["faster (Node)", "floor", "redqueue", "slow"]
    assert processed.values == [140_000, 100_000, 70_000, 1_500]
    assert processed.kinds == ["peer", "floor", "ours", "peer"]
    assert added.names == ["floor", "redqueue", "faster (Node)", "slow"]
    assert fastest.values[0] == 130_000


def test_pages_are_written_between_their_markers_and_only_there(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    page, readme = tmp_path / "docs" / "benchmarks.md", tmp_path / "README.md"
    page.write_text(f"before\n{pages.BEGIN}\nold\n{pages.END}\nafter\n")
    readme.write_text("no markers\n")
    assert pages.rewrite(RUN, tmp_path) == [page]
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert "| redqueue | 70,000 |" in text
    assert readme.read_text() == "no markers\n"
    pages.rewrite(RUN, tmp_path)
    assert page.read_text() == text
