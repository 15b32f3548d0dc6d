"""The cost curves of `benchmarks.scale` as a picture: an SVG beside the file of results that is given.

Runs in .bench/chart, with matplotlib: ``.bench/chart/bin/python benchmarks/chart/scale.py RESULTS.json``.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "redqueue"

from matplotlib import pyplot as plt  # noqa: E402 - the backend comes first

KINDS = {"add": "add", "process": "claim and settle"}


def draw(file: Path) -> Path:
    """Redis's CPU a job against the jobs in the queue, a line each for what is done to them."""
    found = json.loads(file.read_text(encoding="utf-8"))
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for state, style in (("waiting", "-"), ("delayed", "--")):
        ones = [one for one in found["sizes"] if one["state"] == state]
        for (kind, label), colour in zip(KINDS.items(), ("tab:blue", "tab:red"), strict=True):
            costs = [statistics.median(one[f"{kind}_redis_us"]) for one in ones]
            axes.plot([one["size"] for one in ones], costs, style, marker="o", color=colour, label=f"{label}, {state}")
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("jobs in the queue")
    axes.set_ylabel("Redis CPU, µs a job")
    axes.grid(alpha=0.3)
    axes.legend()
    target = file.with_suffix(".svg")
    figure.savefig(target, metadata={"Date": None})
    return target


if __name__ == "__main__":
    print(draw(Path(sys.argv[1])))
