"""The page of threats and the tests agree."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
ROW: Final = re.compile(r"^\| (X\d\d) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)


def files_by_id() -> dict[str, set[str]]:
    """The files with tests for each id, by the tests' docstrings."""
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                for id in re.findall(r"\bX\d\d\b", ast.get_docstring(node) or ""):
                    found.setdefault(id, set()).add(path.relative_to(ROOT).as_posix())
    return found


def test_each_threat_has_its_tests_or_says_why_not() -> None:
    page = (ROOT / "docs" / "design" / "threats.md").read_text(encoding="utf-8")
    rows = {id: tests for id, _, tests in ROW.findall(page)}
    assert list(rows) == [f"X{n:02}" for n in range(1, 31)]
    tested = files_by_id()
    assert tested.keys() <= rows.keys()
    for id, tests in rows.items():
        if tests.startswith("not yet: "):
            assert id not in tested, f"{id} has tests: name them"
        else:
            assert set(tests.split(", ")) == tested.get(id, set()), id
