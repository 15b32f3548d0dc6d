"""What an installation pulls in."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]


def test_a_plain_installation_pulls_three_packages() -> None:
    """X30: all else is an extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = [re.split(r"[<>=!;\[ ]", one)[0] for one in project["dependencies"]]
    assert sorted(names) == ["msgspec", "redis", "typing-extensions"]


def test_what_tests_and_releases_install_is_pinned_by_hash() -> None:
    """X30: each line of the lock files names a version and its hashes."""
    for lock in (ROOT / "requirements").glob("*.lock"):
        text = lock.read_text(encoding="utf-8")
        pins = re.findall(r"^([A-Za-z0-9][^\s=]*)==(\S+)((?:.*\\\n)*.*)$", text, re.MULTILINE)
        assert pins, lock.name
        for name, _, rest in pins:
            assert "--hash=sha256:" in rest, name
