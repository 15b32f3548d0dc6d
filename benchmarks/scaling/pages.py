"""Tables for people, and the pages and files in which results are kept."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "results"
PAGE = Path(__file__).parents[2] / "docs" / "scale.md"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def spread(rounds: Sequence[float], digits: int = 1) -> str:
    """The median of some rounds, with the least and the most."""
    middle, low, high = (f"{value:,.{digits}f}" for value in (statistics.median(rounds), min(rounds), max(rounds)))
    return middle if len(rounds) == 1 else f"{middle} ({low} to {high})"


def growth(rounds: Sequence[float], base: Sequence[float]) -> float:
    """How many times the median of `base` the median of `rounds` is."""
    return statistics.median(rounds) / statistics.median(base)


def machine(facts: dict[str, Any]) -> str:
    """One sentence on where it was measured."""
    return (
        f"Measured on {facts['date']}: {facts['cpu']}, {facts['cores']} cores, {facts['system']}, Python"
        f" {facts['python']}, redis-py {facts['redis-py']}, {facts['server']} on 127.0.0.1 without persistence;"
        f" load of the machine before the run {facts['load']:g}."
    )


def rewrite(page: str, name: str, text: str) -> str:
    """The page with another text between the two marks of that name.

    Raises:
        ValueError: the page has no such marks.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, found, rest = page.partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise ValueError(f"the page has no {begin} and {end}")
    return f"{before}{begin}\n{text}\n{end}{after}"


def publish(name: str, result: dict[str, Any], text: str) -> Path:
    """Write a dated file of results, and the tables into the page. Answers the file."""
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{name}-{result['facts']['date']}.json"
    file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(rewrite(PAGE.read_text(encoding="utf-8"), name, text), encoding="utf-8")
    return file
