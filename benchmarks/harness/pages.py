"""The tables that a run writes into pages, between two markers that stay."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from benchmarks.harness import table
from benchmarks.harness.figures import Run
from benchmarks.harness.peers import ROOT

BEGIN: Final = "<!-- bench:begin -->"
END: Final = "<!-- bench:end -->"


def rewrite(run: Run, root: Path = ROOT) -> list[Path]:
    """Put the run into docs/benchmarks.md and, shortened, into README.md, where they have the markers."""
    texts = {root / "docs" / "benchmarks.md": table.as_markdown(run), root / "README.md": table.as_short_markdown(run)}
    written = []
    for page, text in texts.items():
        before = page.read_text(encoding="utf-8")
        if BEGIN in before and END in before:
            page.write_text(between(before, text), encoding="utf-8")
            written.append(page)
    return written


def between(page: str, text: str) -> str:
    """The page with that text between its markers."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{text}\n{END}{tail}"
