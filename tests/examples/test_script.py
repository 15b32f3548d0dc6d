"""examples/script.py, and what all examples have in common."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
FIRST = ["script.py", "services.py", "fastapi_app.py", "flask_app.py", "django_project/manage.py", "demo/run.py"]


def test_the_script_adds_runs_and_tells(program: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    out, err = (process := program("examples/script.py")).communicate(timeout=30)
    assert process.returncode == 0, err
    assert out.splitlines() == [
        "added 4; adding cat again: duplicate",
        "cat  completed  attempts 1  cat.png@200",
        "dog  completed  attempts 2  dog.png@4000",
        "owl  failed     attempts 1  InvalidArguments: make_thumbnail: $.width: expected `int`, got `str`",
        "read failed     attempts 1  Discard: read.txt is no picture",
        "succeeded 2, failed 2, waiting 0",
    ]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", FIRST)
def test_every_example_begins_with_how_to_run_it(name: str) -> None:
    text = ast.get_docstring(ast.parse((EXAMPLES / name).read_text(encoding="utf-8")))
    assert text
    assert "python " in text or "uvicorn " in text
