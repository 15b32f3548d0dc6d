"""Draws the panels that come as JSON on stdin to the SVG named by its argument. Runs in .bench/chart, with matplotlib.

Text is drawn as outlines in a grey that can be read on white and on black, the background is transparent, and nothing
random or dated goes into the file: the same data make the same bytes.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt

GREY = "#808890"
COLOURS = {"ours": "#d7263d", "peer": "#6c8ebf", "floor": "#a9a9a9"}
STYLE = {
    "svg.hashsalt": "redqueue",
    "svg.fonttype": "path",
    "font.size": 11,
    "text.color": GREY,
    "axes.labelcolor": GREY,
    "axes.edgecolor": GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
}


def draw_panel(axes: Any, panel: dict[str, Any]) -> None:
    places = range(len(panel["names"]))
    axes.barh(places, panel["values"], color=[COLOURS[kind] for kind in panel["kinds"]], height=0.7)
    axes.set_yticks(places, panel["names"])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlim(max(1, min(panel["values"]) / 3), max(panel["values"]) * 6)
    axes.set_title(panel["title"], loc="left", fontsize=12)
    axes.spines[["top", "right"]].set_visible(False)
    axes.minorticks_off()
    for place, value in zip(places, panel["values"], strict=True):
        axes.annotate(f" {value:,.0f}", (value, place), va="center", color=GREY)


def main() -> None:
    panels = [panel for panel in json.load(sys.stdin) if panel["values"]]
    heights = [len(panel["values"]) + 2 for panel in panels]
    with mpl.rc_context(STYLE):
        figure, rows = plt.subplots(
            len(panels), 1, figsize=(9, 0.32 * sum(heights)), squeeze=False, height_ratios=heights, layout="constrained"
        )
        for axes, panel in zip(rows[:, 0], panels, strict=True):
            draw_panel(axes, panel)
        rows[-1, 0].set_xlabel("jobs a second, logarithmic")
        figure.savefig(sys.argv[1], format="svg", transparent=True, metadata={"Date": None, "Creator": None})


if __name__ == "__main__":
    main()
