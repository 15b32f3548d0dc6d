"""The pages say what the code says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from redqueue.core.keys import FAMILIES, FIXED
from redqueue.core.script import names

ROOT: Final = Path(__file__).parents[1]
PAGES: Final = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
LINK: Final = re.compile(r"\]\((?!\w+://|#)([^)#\s]+)")


def rows(page: str) -> dict[str, list[str]]:
    """A page's table rows by the name in their first cell."""
    cells = [line.strip("|").split("|") for line in page.splitlines() if line.startswith("| `")]
    return {row[0].strip(" `"): [cell.strip() for cell in row] for row in cells}


def test_every_key_has_its_line_for_operators() -> None:
    lines = rows((ROOT / "docs" / "keys.md").read_text(encoding="utf-8"))
    members = ["job:<id>", "outcome:<id>", "log:<id>", "session:<s>", "inbox:<s>", "producer:<lane>"]
    assert {name.split(":")[0] for name in members} == set(FAMILIES)
    assert lines.keys() == {*FIXED, *members}
    for name, (_, kind, holds, life, look) in lines.items():
        assert kind in ("string", "list", "hash", "zset", "stream")
        assert holds
        assert life
        assert "redis-cli" in look
        assert "'redqueue:{sms}:" + name.split(":")[0] in look


def test_the_protocols_page_names_every_script() -> None:
    page = (ROOT / "docs" / "design" / "0003-protocol.md").read_text(encoding="utf-8")
    for name in names():
        if name != "advance":  # for tests
            assert re.search(rf"\b{name.split('_')[0]}\b", page), name


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_page_promises_what_cannot_be_kept(page: Path) -> None:
    assert "exactly once execution" not in page.read_text(encoding="utf-8").lower()
