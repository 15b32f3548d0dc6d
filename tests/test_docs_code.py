"""What the pages show is what runs: every Python block is executed, by section, in a fresh process.

The blocks of a ``##`` section are one program, run in order. A block whose first line is a comment with a file's name
is that file beside the program: it is compiled, and imported or, when it is a test, run by pytest; one in a folder is
compiled, and what it imports must be there.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from redqueue.worker.__main__ import main

ROOT: Final = Path(__file__).parents[1]
README: Final = ROOT / "README.md"
PAGES: Final = (README, *sorted(ROOT.glob("docs/*.md")))
BLOCK: Final = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
NAME: Final = re.compile(r"# ([\w/]+\.py)\n")


@dataclass(frozen=True)
class Section:
    """A heading of a page, and the Python blocks below it."""

    page: str
    title: str
    blocks: tuple[str, ...]

    @property
    def program(self) -> str:
        """The blocks that are no files of their own."""
        return "\n".join(block for block in self.blocks if not NAME.match(block))

    @property
    def files(self) -> dict[str, str]:
        """The blocks that are, by name."""
        return {found[1]: block for block in self.blocks if (found := NAME.match(block))}

    def __str__(self) -> str:
        return f"{self.page}:{self.title}"


def sections() -> list[Section]:
    """Those of the pages below docs; the README's one has a test of its own."""
    return [
        Section(page.name, part.splitlines()[0].strip("# "), blocks)
        for page in PAGES
        for part in re.split(r"^## ", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
        if page != README and (blocks := tuple(BLOCK.findall(part)))
    ]


def run(folder: Path, url: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Python in that folder, with warnings as errors and Redis at that URL."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("REDQUEUE_", "QUEUE_"))}
    environment |= {"REDIS_URL": url, "PYTHONWARNINGS": "error"}
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )


def imports(code: str) -> str:
    """The imports of a file, but for those from beside it."""
    tree = ast.parse(code)
    return ast.unparse([node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)])  # type: ignore[arg-type]


@pytest.mark.parametrize("section", sections(), ids=str)
def test_what_a_section_shows_runs(section: Section, tmp_path: Path, redqueue_url: str) -> None:
    for name, code in section.files.items():
        compile(code, name, "exec")
        if "/" not in name:
            (tmp_path / name).write_text(code)
    for name, code in section.files.items():
        if name.startswith("test_"):
            words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio", name]
        else:
            words = ["-c", imports(code) if "/" in name else f"import {name.removesuffix('.py')}"]
        ran = run(tmp_path, redqueue_url, *words)
        assert ran.returncode == 0, ran.stdout + ran.stderr
    if section.program:
        (tmp_path / "shown.py").write_text(section.program)
        ran = run(tmp_path, redqueue_url, "shown.py")
        assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_quick_start_works_when_pasted(tmp_path: Path) -> None:
    (quick_start,) = BLOCK.findall(README.read_text(encoding="utf-8"))
    (tmp_path / "hello.py").write_text(quick_start)
    try:
        ran = run(tmp_path, "redis://nowhere.invalid", "hello.py")
        assert (ran.returncode, ran.stdout, ran.stderr) == (0, "completed Hello, Ada!\n", "")
        worker = ("-m", "redqueue.worker", "hello", "--url", "embedded://redqueue-data", "--check")
        ran = run(tmp_path, "redis://nowhere.invalid", *worker)
        assert ran.stdout.startswith("processor greet\n"), ran.stderr
    finally:
        stopped = run(tmp_path, "", "-m", "redqueue.embedded", "stop", "redqueue-data")
    assert stopped.stdout == "stopped\n"


def test_the_readme_is_short() -> None:
    """But for the table that the benchmark writes."""
    before, _, rest = README.read_text(encoding="utf-8").partition("<!-- bench:begin -->")
    assert len((before + rest.partition("<!-- bench:end -->")[2]).split()) <= 400


@pytest.mark.parametrize("page", [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")], ids=lambda path: str(path.name))
def test_no_pip_line_installs_somebody_elses_project(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"(install|add|requires?)\s+(-\S+\s+)*['\"]?redqueue(?!-jobs)\b", text)


def test_the_guide_has_every_option_of_the_worker(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"], {})
    options = set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help"}
    guide = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")
    for option in options:
        assert re.search(rf"^\| .*`{option}` \|", guide, re.MULTILINE), option


def test_headings_that_links_name_are_there() -> None:
    for page in PAGES:
        for name, anchor in re.findall(r"\]\(([\w./-]*)#([\w-]+)\)", page.read_text(encoding="utf-8")):
            target = page.parent / name if name else page
            headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
            assert anchor in slugs, (page.name, anchor, slugs)
