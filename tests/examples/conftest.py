"""Examples imported as a fresh process would import them, and programs that end with their test."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from redqueue import ServiceRegistry

ROOT = Path(__file__).parents[2]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch, redqueue_url: str) -> Iterator[Callable[[str], Any]]:
    """Import an example by its dotted name, with an application's registry of its own and REDIS_URL set."""
    monkeypatch.delenv("REDQUEUE_URL", raising=False)
    monkeypatch.setenv("REDIS_URL", redqueue_url)
    monkeypatch.setattr(ServiceRegistry, "_instance", None)
    monkeypatch.syspath_prepend(str(ROOT))
    before = set(sys.modules)

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    yield load
    for name in set(sys.modules) - before:
        if name.split(".")[0] == "examples":
            del sys.modules[name]


@pytest.fixture
def until() -> Callable[[Callable[[], Any], Callable[[Any], bool]], Any]:
    """Ask again until the answer is good, as a page that shows a job's status does; at most 10 s."""

    def ask_until(ask: Callable[[], Any], is_good: Callable[[Any], bool]) -> Any:
        deadline = time.monotonic() + 10
        while not is_good(answer := ask()):
            assert time.monotonic() < deadline, answer
            time.sleep(0.005)
        return answer

    return ask_until


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start an example with Python; its temporary files are in `tmp_path`. It is killed when it outlives the test."""
    started: list[subprocess.Popen[str]] = []
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("REDIS_", "QUEUE_"))}
    # Short, as a unix socket's path must be.
    environment |= {"TMPDIR": str(tmp_path), "PYTHONWARNINGS": "error", "COLUMNS": "100"}

    def start(*words: str) -> subprocess.Popen[str]:
        command = [sys.executable, *words]
        started.append(
            subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        with process:
            pass
