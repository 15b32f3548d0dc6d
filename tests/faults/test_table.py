"""The table of faults and the tests that it names agree."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import pytest

TESTS: Final = Path(__file__).parents[1]
PAGE: Final = TESTS.parent / "docs" / "design" / "faults.md"
ROW: Final = re.compile(r"^\| ([A-Z]\d\d) \| (.+) \| (.+) \|$", re.MULTILINE)
NAMED: Final = re.compile(r"`([\w/]+\.py)::(\w+)`")
TOLD: Final = re.compile(r"^\s*Faults: (.+)\.$", re.MULTILINE)


@cache
def table() -> dict[str, str]:
    """What stands here for each fault: the tests, or why there is none."""
    return {fault: here for fault, _, here in ROW.findall(PAGE.read_text(encoding="utf-8"))}


def in_table() -> set[tuple[str, str, str]]:
    """File, test and fault."""
    return {(file, test, fault) for fault, here in table().items() for file, test in NAMED.findall(here)}


@cache
def in_docstrings() -> set[tuple[str, str, str]]:
    """The same, as the tests tell it."""
    return {
        (str(file.relative_to(TESTS)), name, fault)
        for file in sorted(TESTS.rglob("test_*.py"))
        for name, text in docstrings(file)
        for told in TOLD.findall(text)
        for fault in told.split(", ")
    }


def docstrings(file: Path) -> Iterator[tuple[str, str]]:
    """The tests of a file, and what each says of itself."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, ast.get_docstring(node) or ""


def test_there_is_a_row_for_each_fault_once() -> None:
    faults = [fault for fault, _, _ in ROW.findall(PAGE.read_text(encoding="utf-8"))]
    assert len(faults) == len(set(faults)) > 80
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if re.match(r"\| [A-Z]\d", line)]
    assert len(rows) == len(faults), "a row has another form"


@pytest.mark.parametrize("fault", table())
def test_each_row_names_a_test_or_says_why_not(fault: str) -> None:
    here = table()[fault]
    assert NAMED.findall(here) or len(here.split()) > 3
    assert len(NAMED.findall(here)) == here.count("::")


def test_each_test_of_the_table_says_which_faults_it_is_for() -> None:
    assert sorted(in_table() - in_docstrings()) == []


def test_each_fault_that_a_test_names_is_in_the_table_with_it() -> None:
    assert sorted(in_docstrings() - in_table()) == []
