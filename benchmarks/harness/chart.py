"""The chart: its data, and the script that draws it in an environment of its own, so that nobody else needs that."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Final

import msgspec
from benchmarks.harness.environments import BENCH, make_venv, python_of
from benchmarks.harness.figures import Entry, Run
from benchmarks.harness.peers import ROOT

CHART: Final = ROOT / "benchmarks" / "chart"
SECONDS: Final = 120


class Panel(msgspec.Struct):
    """Bars of one figure, longest first: names, jobs a second, and which are redqueue's, peers' or the floor."""

    title: str
    names: list[str]
    values: list[float]
    kinds: list[str]


def panels(run: Run) -> list[Panel]:
    """Processed jobs a second, of async or plain functions, whatever a peer does faster; and added ones."""
    return [
        _panel(run, "processed jobs/s by one worker", ("process_async", "process_plain")),
        _panel(run, "added jobs/s, one at a time", ("add_one",)),
        _panel(run, "added jobs/s, the fastest way", ("add_one", "add_fifty", "add_bulk")),
    ]


def draw(run: Run, target: Path) -> None:
    """Write the SVG. Raises NotInstalled when the drawing library can't be installed."""
    target.parent.mkdir(exist_ok=True)
    data = json.dumps([msgspec.to_builtins(panel) for panel in panels(run)])
    command = [str(python()), str(CHART / "draw.py"), str(target)]
    subprocess.run(command, input=data, text=True, check=True, timeout=SECONDS)


def python() -> Path:
    """The interpreter that has the drawing library, installed when it isn't there. Raises NotInstalled."""
    home, pins = BENCH / "chart", CHART / "requirements.txt"
    ready = home / ".ready"
    if not ready.exists() or ready.read_text(encoding="utf-8") != pins.read_text(encoding="utf-8"):
        make_venv(home, pins)
        ready.write_text(pins.read_text(encoding="utf-8"), encoding="utf-8")
    return python_of(home)


def _panel(run: Run, title: str, keys: tuple[str, ...]) -> Panel:
    bars = [(best, entry) for entry in run.entries if (best := _best(entry, keys)) is not None]
    bars.sort(key=lambda bar: (-bar[0], bar[1].name))
    names = [f"{entry.name} (Node)" if entry.language == "Node" else entry.name for _, entry in bars]
    return Panel(title, names, [round(value, 1) for value, _ in bars], [_kind(entry) for _, entry in bars])


def _best(entry: Entry, keys: tuple[str, ...]) -> float | None:
    medians = [median for key in keys if (median := entry.figure(key).median) is not None]
    return max(medians, default=None)


def _kind(entry: Entry) -> str:
    return entry.name if entry.name == "floor" else "ours" if entry.name.startswith("redqueue") else "peer"
