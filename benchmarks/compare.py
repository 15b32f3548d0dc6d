"""redqueue beside its floor and its peers, all measured the same way in one run: ``make bench``.

Each peer runs in an environment of its own under .bench, at the fastest settings that its documentation names.
Ratios travel between machines, absolute figures don't.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.harness import chart, pages, table
from benchmarks.harness.figures import MEASUREMENTS, Run
from benchmarks.harness.machine import describe
from benchmarks.harness.peers import ROOT, entries
from benchmarks.harness.rounds import run_rounds
from benchmarks.harness.server import Server

RESULTS = ROOT / "benchmarks" / "results"
SECONDS = 1.0  # that a measurement takes, about


def say(line: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {line}", file=sys.stderr, flush=True)


def names(text: str) -> list[str]:
    """Comma-separated; a comma with a space after it belongs to a name, as in "redqueue, uvloop"."""
    return [name for name in re.split(r",(?! )", text) if name]


def measure(options: argparse.Namespace) -> Run:
    peers = entries(options.peers)
    wanted = options.figures
    if unknown := set(wanted) - set(MEASUREMENTS):
        raise ValueError(f"no such figures: {sorted(unknown)}; there are {list(MEASUREMENTS)}")
    began, date = time.monotonic(), datetime.now(UTC).date().isoformat()
    with Server() as server:
        seconds = SECONDS * options.scale
        found = run_rounds(peers, server, wanted=wanted, rounds=options.rounds, seconds=seconds, say=say)
        machine = describe(server.version)
    taken = round(time.monotonic() - began)
    return Run(1, date, machine, options.rounds, options.scale, taken, found)


def keep(run: Run) -> Path:
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{run.date}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(run), indent=1) + b"\n")
    return path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", type=names, default=[], help="names of their folders' peer.toml, comma-separated")
    parser.add_argument("--figures", type=names, default=[], help=f"of {', '.join(MEASUREMENTS)}")
    parser.add_argument("--scale", type=float, default=1.0, help="how long each takes, against the usual second")
    parser.add_argument("--from", dest="kept", type=Path, help="render that kept run again, and measure nothing")
    parser.add_argument("--no-write", action="store_true", help="only print the table: a trial")
    options = parser.parse_args()
    try:
        run = msgspec.json.decode(options.kept.read_bytes(), type=Run) if options.kept else measure(options)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    print(table.as_text(run))
    if not options.no_write:
        if not options.kept:
            print(f"kept in {keep(run).relative_to(ROOT)}")
        chart.draw(run, RESULTS / "latest.svg")
        pages.rewrite(run)
    return 0


if __name__ == "__main__":
    sys.exit(main())
