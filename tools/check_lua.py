"""Run luacheck on every script as Redis gets it: composed with its pieces and the names of its header.

A script may leave a function of a shared piece unused, but some script must use it; and a piece's locals may have the
names of a script's arguments, which it can't know. Everything else that luacheck finds counts, and is reported by the
file that it was written in.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from redqueue.core import script

LUA: Final = Path(script.__file__).parents[1] / "lua"
PIECES: Final = {path.stem: path.read_text(encoding="utf-8") for path in sorted((LUA / "lib").glob("*.lua"))}
COMMAND: Final = (
    *("luacheck", "-", "--no-config", "--formatter", "plain", "--codes", "--no-color"),
    *("--std", "lua51", "--read-globals", "redis", "KEYS", "ARGV", "--max-line-length", "120"),
)
FOUND: Final = re.compile(r"[^:]*:(?P<line>\d+):\d+: \((?P<code>\w+)\) (?P<text>.*)")
UNUSED: Final = re.compile(r"unused (?:function|variable) '(\w+)'")
TOP_LEVEL: Final = re.compile(r"^local (?:function )?(\w+(?:, \w+)*)", re.MULTILINE)


class Finding(NamedTuple):
    script: str
    line: int
    code: str
    text: str


class Source(NamedTuple):
    """Which lines of a composed script come from which file."""

    file: str
    first: int
    last: int


def main() -> int:
    if shutil.which("luacheck") is None:
        print(
            "MISSING TOOL: luacheck is not installed, so the Lua scripts were NOT checked.\n"
            "Install it (Debian and Ubuntu: apt-get install lua-check) and run this again.",
            file=sys.stderr,
        )
        return 1
    names = script.names()
    problems = [problem for name in names for problem in check(name)]
    problems += [f"lua/lib/{piece}.lua: no script uses {name!r}" for piece, name in sorted(unused_in_all(names))]
    print("\n".join(dict.fromkeys(problems)) or f"luacheck: {len(names)} scripts, nothing found")
    return 1 if problems else 0


def check(name: str) -> Iterator[str]:
    """What luacheck finds in one composed script, less what is nobody's fault."""
    text = script.load(name).text
    sources = list(sources_of(name, text))
    for found in run_luacheck(name, text):
        source = next((one for one in sources if one.first <= found.line <= one.last), None)
        if not forgiven(found, source):
            place = f"{source.file}:{found.line - source.first + 1}" if source else f"{name}.lua, the header's names"
            yield f"lua/{place}: ({found.code}) {found.text} [in script {name}]"


def forgiven(found: Finding, source: Source | None) -> bool:
    if source is None:
        return found.code == "W631"  # a long line that the composer wrote
    unused = UNUSED.match(found.text)
    if found.code == "W211" and unused:
        return unused[1] in top_level(source.file)
    return found.code == "W431" and source.file.startswith("lib/")


def run_luacheck(name: str, text: str) -> Iterator[Finding]:
    ran = subprocess.run(COMMAND, input=text, capture_output=True, text=True, check=False)
    if ran.returncode > 2 or ran.stderr:
        raise SystemExit(f"luacheck failed on {name}: {ran.stderr or ran.stdout}")
    for line in ran.stdout.splitlines():
        if found := FOUND.fullmatch(line):
            yield Finding(name, int(found["line"]), found["code"], found["text"])


def sources_of(name: str, text: str) -> Iterator[Source]:
    files = {f"lib/{piece}.lua": body for piece, body in PIECES.items()}
    files[f"{name}.lua"] = (LUA / f"{name}.lua").read_text(encoding="utf-8")
    for file, body in files.items():
        at = text.find(body)
        if at >= 0:
            first = text.count("\n", 0, at) + 1
            yield Source(file, first, first + body.count("\n"))


def top_level(file: str) -> set[str]:
    """Names that a piece offers; none for a script of its own."""
    body = PIECES.get(Path(file).stem, "") if file.startswith("lib/") else ""
    return {name for names in TOP_LEVEL.findall(body) for name in names.split(", ")}


def unused_in_all(names: list[str]) -> set[tuple[str, str]]:
    """(piece, name) of what a piece offers and no script takes, itself or by another piece."""
    used: dict[str, set[str]] = defaultdict(set)
    for name in names:
        text = script.load(name).text
        unused = {match[1] for found in run_luacheck(name, text) if (match := UNUSED.match(found.text))}
        for source in sources_of(name, text):
            used[source.file] |= top_level(source.file) - unused
    return {(piece, name) for piece in PIECES for name in top_level(f"lib/{piece}.lua") - used[f"lib/{piece}.lua"]}


if __name__ == "__main__":
    sys.exit(main())
