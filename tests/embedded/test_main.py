"""``python -m redqueue.embedded``."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from redqueue import embedded
from redqueue.embedded.__main__ import main

if TYPE_CHECKING:
    from pathlib import Path


def test_the_module_starts_a_server_and_prints_its_url(folder: Path) -> None:
    command = [sys.executable, "-W", "error", "-m", "redqueue.embedded", "start", str(folder)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"{embedded.url(folder)}\n", "")
    assert embedded.status(folder) is not None


def test_a_servers_life_by_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(command: str) -> tuple[int, str]:
        return main([command, str(folder)]), capsys.readouterr().out

    assert run("status") == (1, "not running\n")
    assert run("stop") == (1, "not running\n")
    assert run("url") == (0, f"{embedded.url(folder)}\n")
    assert run("start") == (0, f"{embedded.url(folder)}\n")
    code, text = run("status")
    found = embedded.status(folder)
    assert found is not None
    assert code == 0
    for fact in (f"process {found.pid}", found.version, str(folder), embedded.url(folder)):
        assert fact in text
    assert run("stop") == (0, "stopped\n")
    assert run("status") == (1, "not running\n")


@pytest.mark.parametrize("words", [[], ["restart"], ["start", "one", "two"]])
def test_wrong_usage_is_code_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_an_error_is_told_without_a_traceback(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDQUEUE_SERVER", "/no/such/program")
    assert main(["start", str(folder)]) == 2
    assert "/no/such/program" in capsys.readouterr().err
