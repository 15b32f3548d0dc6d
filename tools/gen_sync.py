"""Generates the handles for threads from those for tasks: `make gen`, or with --check only looks.

Plain word substitutions, each of which must change something somewhere: a rule that is no longer needed stops it.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
CLIENT = ROOT / "src" / "redqueue" / "client"
FILES = ("job.py", "listening.py", "queue.py", "service.py")

RULES = (
    (r"\basync def\b", "def"),
    (r"\bawait ", ""),
    (r"\bAsync(?=[A-Z])", ""),
    (r"\bclient\.aio\b", "client.sync"),
    (r"\b__aenter__\b", "__enter__"),
    (r"\b__aexit__\b", "__exit__"),
)

HEADER = "# Generated from client/aio/{name} by make gen; do not edit.\n"


def main(arguments: list[str]) -> int:
    """Writes the files, or with --check says which are stale. The exit code is 1 when one is."""
    stale = [name for name, text in generate().items() if _read(CLIENT / "sync" / name) != text]
    if arguments == ["--check"]:
        for name in stale:
            print(f"client/sync/{name} is stale: run make gen", file=sys.stderr)
        return 1 if stale else 0
    if arguments:
        print("usage: gen_sync.py [--check]", file=sys.stderr)
        return 2
    for name, text in generate().items():
        (CLIENT / "sync" / name).write_text(text, encoding="utf-8")
    return 0


def generate() -> dict[str, str]:
    """The text of each generated file by its name."""
    texts = {name: (CLIENT / "aio" / name).read_text(encoding="utf-8") for name in FILES}
    for pattern, word in RULES:
        changed = {name: re.sub(pattern, word, text) for name, text in texts.items()}
        if changed == texts:
            raise SystemExit(f"the rule {pattern!r} changes nothing: take it out of {__file__}")
        texts = changed
    return {name: _formatted(name, HEADER.format(name=name) + text) for name, text in texts.items()}


def _formatted(name: str, text: str) -> str:
    path = str(CLIENT / "sync" / name)
    for command in (["check", "--select", "I", "--fix", "--quiet"], ["format", "--quiet"]):
        config = str(ROOT / "pyproject.toml")
        ruff = [sys.executable, "-m", "ruff", *command, "--config", config, "--stdin-filename", path, "-"]
        text = subprocess.run(ruff, input=text, capture_output=True, text=True, check=True).stdout
    return text


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
