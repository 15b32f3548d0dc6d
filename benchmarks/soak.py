"""What stays of a million jobs: ``make bench-soak``, about two minutes.

One worker process runs a million jobs, then a hundred thousand that fail, with default retention. At each mark the
queue is idle, and the worker and Redis hold what they held before.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from benchmarks.scaling import pages
from benchmarks.scaling.pages import table
from benchmarks.scaling.rig import CHUNK, PAYLOAD, Rig, facts, wait_until

MARKS = (10_000, 100_000, 500_000, 1_000_000)
FAILING_MARKS = (10_000, 100_000)
SETTLED_S = 3.0
"""Seconds after which Redis has shrunk the buffers of idle connections."""
TOLERANCE = 0.05
FEW = 10
"""Objects: a connection that was opened since, and what belongs to it, is no leak."""
MiB = 1024 * 1024

Mark = dict[str, Any]


def feed(rig: Rig, jobs: int, job_type: str, **options: Any) -> float:
    """Add that many, never far ahead of the worker, until all have ended. Answers the seconds that it took."""
    began, before, added = time.monotonic(), rig.ended(), 0
    while added < jobs:
        rig.fill(min(CHUNK, jobs - added), job_type, PAYLOAD, **options)
        added += min(CHUNK, jobs - added)
        wait_until(partial(has_ended, rig, before + added - CHUNK // 2))
    wait_until(partial(has_ended, rig, before + jobs))
    return time.monotonic() - began


def has_ended(rig: Rig, jobs: int) -> bool:
    return rig.ended() >= jobs


def mark(rig: Rig, jobs: int, kind: str, seconds: float) -> Mark:
    """What the worker and Redis hold now, with nothing to do."""
    time.sleep(SETTLED_S)
    (worker,) = rig.workers
    told = worker.ask()
    found = Mark(jobs=jobs, kind=kind, seconds=round(seconds, 1), rss=told["rss"], worker_cpu=round(told["cpu"], 2))
    events = int(rig.client.memory_usage(rig.queue._keys["events"], samples=0) or 0)
    found |= Mark(used_memory=rig.used_memory(), events=events, keys=int(rig.client.dbsize()))
    found["stored"] = found["used_memory"] - events
    found["holdings"] = worker.ask("inspect")["holdings"]
    return found


def run(scale: float) -> dict[str, Any]:
    """Both parts, one after the other, with the same worker."""
    with Rig() as rig:
        result: dict[str, Any] = {"facts": facts(rig), "marks": []}
        rig.enter()
        for kind, marks, options in (("noop", MARKS, {}), ("fail", FAILING_MARKS, {"retries": 1, "backoff": 0})):
            done = 0
            for goal in (int(one * scale) for one in marks):
                seconds = feed(rig, goal - done, kind, **options)
                done = goal
                result["marks"].append(mark(rig, done, kind, seconds))
        result["audit"] = list(rig.queue.audit())
    return result


def of_kind(marks: Sequence[Mark], kind: str) -> list[Mark]:
    return [one for one in marks if one["kind"] == kind]


def grown(marks: Sequence[Mark], name: str) -> float:
    """How many times what it was at the first mark the last mark's figure is."""
    return float(marks[-1][name]) / float(marks[0][name])


def left_over(first: Mapping[str, int], last: Mapping[str, int]) -> dict[str, int]:
    """What the worker's own objects and containers hold more than at an earlier mark, by more than a few."""
    grown_by = {name: count - first.get(name, 0) for name, count in last.items()}
    return {name: more for name, more in grown_by.items() if more > FEW}


def without_holdings(result: dict[str, Any]) -> dict[str, Any]:
    """The result with what is left over instead of all that was held at each mark."""
    marks = result["marks"]
    left: dict[str, int] = {}
    for kind in ("noop", "fail"):
        ones = of_kind(marks, kind)
        left |= left_over(ones[0]["holdings"], ones[-1]["holdings"])
    short = [{name: value for name, value in one.items() if name != "holdings"} for one in marks]
    return result | {"marks": short, "looked_at": len(marks[-1]["holdings"]), "left_over": left}


def defects(result: dict[str, Any]) -> list[str]:
    """What grew with the number of jobs."""
    noop, failing = of_kind(result["marks"], "noop"), of_kind(result["marks"], "fail")
    found = []
    # The stream of events is bounded by its entries, and is not full at the first marks.
    for what, name, kind in (
        ("the worker's memory over completed jobs", "rss", noop),
        ("the worker's memory over failed jobs", "rss", failing),
        ("Redis's memory, without events, over completed jobs", "stored", noop),
        ("Redis's memory, without events, over failed jobs", "stored", failing),
        ("the number of keys over completed jobs", "keys", noop),
        ("the number of keys over failed jobs", "keys", failing),
    ):
        if grown(kind, name) > 1 + TOLERANCE:
            found.append(f"{what} grew {grown(kind, name):.2f} times from {kind[0]['jobs']:,} jobs on")
    found += [f"{name}: {count} more" for name, count in result["left_over"].items()]
    return found + list(result["audit"])


def text_of(result: dict[str, Any]) -> str:
    """The table and what follows from it, in Markdown."""
    marks = result["marks"]
    head = ["jobs", "worker's RSS, MiB", "Redis's used_memory, MiB", "of it events", "keys", "worker CPU, s"]
    rows = [
        [
            f"{one['jobs']:,} {'that failed twice' if one['kind'] == 'fail' else 'completed'}",
            f"{one['rss'] / MiB:.1f}",
            f"{one['used_memory'] / MiB:.1f}",
            f"{one['events'] / MiB:.1f}",
            f"{one['keys']:,}",
            f"{one['worker_cpu']:,.1f}",
        ]
        for one in marks
    ]
    noop, failing = of_kind(marks, "noop"), of_kind(marks, "fail")
    summary = (
        f"From {noop[0]['jobs']:,} to {noop[-1]['jobs']:,} completed jobs the worker's RSS went to"
        f" {grown(noop, 'rss'):.1%}, from {failing[0]['jobs']:,} to {failing[-1]['jobs']:,} failed ones to"
        f" {grown(failing, 'rss'):.1%}. {held(result)} {sound(result['audit'])}"
    )
    return "\n\n".join([pages.machine(result["facts"]), table(head, rows), summary])


def held(result: dict[str, Any]) -> str:
    """One sentence on redqueue's own objects."""
    if more := result["left_over"]:
        return "It holds more of: " + ", ".join(f"{name} ({count})" for name, count in sorted(more.items())) + "."
    return (
        f"Of its counts of redqueue's objects and of what their containers, modules and caches hold,"
        f" {result['looked_at']} in all, none grew."
    )


def sound(audit: Sequence[str]) -> str:
    return f"`audit()` found {len(audit)} faults." if audit else "`audit()` found nothing."


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="how many jobs, against the usual number; not written")
    options = parser.parse_args()
    result = without_holdings(run(options.scale))
    text = text_of(result)
    print(text)
    if options.scale == 1.0:
        pages.publish("soak", result, text)
    found = defects(result)
    print(*found, sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
