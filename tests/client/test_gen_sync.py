from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def generator(tmp_path: Path) -> Any:
    """The script, working on a copy."""
    spec = importlib.util.spec_from_file_location("gen_sync", ROOT / "tools" / "gen_sync.py")
    assert spec is not None and spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    shutil.copytree(module.CLIENT, tmp_path / "client")
    module.CLIENT = tmp_path / "client"
    return module


def test_the_generated_files_are_those_of_today(generator: Any) -> None:
    assert generator.main(["--check"]) == 0


@pytest.mark.parametrize("name", ["queue.py", "job.py", "listening.py", "service.py"])
def test_a_stale_file_is_found_and_made_anew(generator: Any, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    stale = generator.CLIENT / "sync" / name
    stale.write_text(stale.read_text() + "\n# edited\n")
    assert generator.main(["--check"]) == 1
    assert name in capsys.readouterr().err
    assert generator.main([]) == 0
    assert generator.main(["--check"]) == 0


def test_a_rule_that_changes_nothing_stops_it(generator: Any) -> None:
    generator.RULES = (*generator.RULES, (r"\bnowhere to be found\b", "x"))
    with pytest.raises(SystemExit, match="nowhere"):
        generator.main([])


def test_nothing_of_the_async_side_is_left() -> None:
    for name in ("queue.py", "job.py", "service.py", "runner.py"):
        text = (ROOT / "src" / "redqueue" / "client" / "sync" / name).read_text()
        assert not [word for word in ("Async", "await ", "async ", "asyncio", "client.aio ") if word in text]
        assert name in ("runner.py", "results.py") or text.startswith("# Generated from client/aio/")
