"""What mypy --strict and pyright say of applications that use redqueue."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
GOOD = [HERE / name for name in ("jobs.py", "flask_app.py", "fastapi_app.py", "django_app.py")]
Checker = Callable[[list[Path]], set[tuple[str, int]]]


def by_mypy(files: list[Path]) -> set[tuple[str, int]]:
    """The lines of the files that mypy --strict refuses."""
    reports = [json.loads(line) for line in _run("mypy", "--output", "json", *files).splitlines() if line[:1] == "{"]
    return {(Path(one["file"]).name, one["line"]) for one in reports if one["severity"] == "error"}


def by_pyright(files: list[Path]) -> set[tuple[str, int]]:
    """The lines of the files that pyright refuses."""
    reports = json.loads(_run("pyright", "--pythonpath", sys.executable, "--outputjson", *files))["generalDiagnostics"]
    return {
        (Path(one["file"]).name, one["range"]["start"]["line"] + 1) for one in reports if one["severity"] == "error"
    }


def _run(checker: str, *arguments: object) -> str:
    command = [sys.executable, "-m", checker, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


@pytest.fixture(params=[by_mypy, by_pyright], ids=["mypy", "pyright"])
def checker(request: pytest.FixtureRequest) -> Checker:
    found: Checker = request.param
    return found


def test_applications_are_accepted(checker: Checker) -> None:
    assert checker(GOOD) == set()


def test_each_mistake_is_refused(checker: Checker, tmp_path: Path) -> None:
    text = re.sub(r"  # type: ignore.*", "", (HERE / "bad.py").read_text())
    (tmp_path / "mistakes.py").write_text(text)
    wrong = {("mistakes.py", line) for line in _statements(text)}
    assert len(wrong) >= 25
    assert checker([tmp_path / "mistakes.py"]) >= wrong


def _statements(text: str) -> set[int]:
    """The lines of what the two functions of mistakes do."""
    functions = [n for n in ast.parse(text).body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {statement.lineno for function in functions if function.name != "takes" for statement in function.body}
