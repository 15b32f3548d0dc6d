"""What a job costs as a queue grows: ``make bench-scale``, about six minutes.

More workers, more waiting, delayed and active jobs, larger payloads, and how long each script takes in a queue of a
million. Rounds of different sizes alternate, each size on a server of its own. CPU time a job is the figure to rely on
where the machine has other things to do: jobs a second depend on what else runs.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from benchmarks.harness import chart
from benchmarks.scaling import pages, scripts, sizes
from benchmarks.scaling.pages import growth, spread, table
from benchmarks.scaling.rig import Rig, facts

PARTS = ("workers", "waiting", "delayed", "active", "payloads")
MOST_GROWTH = 1.5
"""log(1,000,000) / log(10,000): a cost that grows faster than that grows faster than O(log n)."""


def by_size(
    counts: Sequence[int],
    rounds: int,
    open_one: Callable[[ExitStack, int], tuple[Rig, sizes.Rounds]],
    measure: Callable[[Rig, sizes.Rounds], None],
    place: scripts.Place,
) -> tuple[list[sizes.Rounds], list[dict[str, Any]]]:
    """The cost at each size, and the figures of each script at the largest."""
    with ExitStack() as stack:
        pairs = [open_one(stack, count) for count in counts]
        for _ in range(rounds):
            for rig, found in pairs:
                measure(rig, found)
        largest = pairs[-1][0]
        largest.queue.pause()
        largest.leave()
        return [found for _, found in pairs], scripts.Stopwatch(largest, place).run()


def measure(part: str, rounds: int, scale: float) -> dict[str, list[Any]]:
    """One part: its tables' rows, by the table's name."""
    counts = [int(count * scale) for count in (10_000, 100_000, 1_000_000)]
    if part == "workers":
        return {part: sizes.by_workers([1, 2, 4], rounds, int(50_000 * scale))}
    if part == "active":
        return {part: sizes.by_active([0, int(10_000 * scale)], rounds)}
    if part == "payloads":
        payloads = [(100, 20_000), (1_000, 20_000), (100_000, 1_000), (1_000_000, 100)]
        return {part: sizes.by_payload(payloads, rounds)}
    if part == "waiting":
        found, timed = by_size(counts, rounds, sizes.open_waiting, sizes.measure_waiting, "waiting")
    else:
        found, timed = by_size(counts, rounds, sizes.open_delayed, sizes.measure_delayed, "delayed")
    return {"sizes": found, "scripts": timed}


def run(parts: Sequence[str], rounds: int, scale: float) -> dict[str, Any]:
    """Measure one part after the other; each is printed when it is done."""
    with Rig() as rig:
        result: dict[str, Any] = {"facts": facts(rig)}
    for part in parts:
        found = measure(part, rounds, scale)
        print(text_of({"facts": result["facts"], **found}), end="\n\n", flush=True)
        for name, rows in found.items():
            result[name] = [*result.get(name, []), *rows]
    return result


def text_of(result: dict[str, Any]) -> str:
    """All tables that there are, in Markdown."""
    texts = [pages.machine(result["facts"])]
    for name, title, render in (
        ("workers", "Workers of one queue:", workers_table),
        ("sizes", "Jobs that wait or are due later, while 20,000 more are added and 20,000 are run:", sizes_table),
        ("active", "Jobs that another worker holds meanwhile:", active_table),
        ("payloads", "Bytes of data:", payloads_table),
        ("scripts", "Scripts, in a queue of a million waiting and in one of a million delayed jobs:", scripts_table),
    ):
        if name in result:
            texts += [title, render(result[name])]
    return "\n\n".join(texts)


def workers_table(found: Sequence[sizes.Rounds]) -> str:
    head = ["worker processes", "jobs/s", "Redis's CPU, % of a core", "Redis CPU, us a job", "worker CPU, us a job"]
    return table(
        head,
        [
            [
                f"{one['workers']}",
                spread(one["process_jobs_a_second"], 0),
                spread([100 * share for share in one["process_redis_share"]], 0),
                spread(one["process_redis_us"]),
                spread(one["process_worker_us"]),
            ]
            for one in found
        ],
    )


def sizes_table(found: Sequence[sizes.Rounds]) -> str:
    head = [
        "jobs",
        "add: Redis CPU, us",
        "claim and settle: Redis CPU, us",
        "against the fewest",
        "jobs/s",
        "bytes a job",
    ]
    rows = []
    for one in found:
        base = next(other for other in found if other["state"] == one["state"])
        grown = growth(one["process_redis_us"], base["process_redis_us"])
        rows.append(
            [
                f"{one['size']:,} {one['state']}",
                spread(one["add_redis_us"]),
                spread(one["process_redis_us"]),
                f"{grown:.2f}",
                spread(one["process_jobs_a_second"], 0),
                f"{one['bytes']:,.0f}",
            ]
        )
    return table(head, rows)


def active_table(found: Sequence[sizes.Rounds]) -> str:
    head = ["held", "jobs/s", "Redis CPU, us a job"]
    rows = [
        [f"{one['active']:,}", spread(one["process_jobs_a_second"], 0), spread(one["process_redis_us"])]
        for one in found
    ]
    return table(head, rows)


def payloads_table(found: Sequence[sizes.Rounds]) -> str:
    head = ["bytes", "added/s", "added, MB/s", "run/s", "run, MB/s", "run: Redis CPU, us", "run: worker CPU, us"]
    rows = []
    for one in found:
        added, processed = one["add_jobs_a_second"], one["process_jobs_a_second"]
        megabytes = [[rate * one["payload"] / 1e6 for rate in rates] for rates in (added, processed)]
        rows.append(
            [
                f"{one['payload']:,}",
                spread(added, 0),
                spread(megabytes[0]),
                spread(processed, 0),
                spread(megabytes[1]),
                spread(one["process_redis_us"]),
                spread(one["process_worker_us"]),
            ]
        )
    return table(head, rows)


def scripts_table(found: Sequence[dict[str, Any]]) -> str:
    head = ["script", "of", "a million", "calls", "CPU, ms a call", "median on the clock, ms", "longest, ms"]
    rows = [
        [f"`{one['script']}`", one["what"], one["place"], f"{one['calls']:,}"]
        + [f"{one[name]:.2f}" for name in ("cpu_ms", "median_ms", "max_ms")]
        for one in found
    ]
    return table(head, rows)


def defects(result: dict[str, Any]) -> list[str]:
    """What grows faster than it may, and scripts that take longer than they may."""
    found = []
    for one in result.get("sizes", []):
        base = next(other for other in result["sizes"] if other["state"] == one["state"])
        for kind in ("add", "process"):
            grown = growth(one[f"{kind}_redis_us"], base[f"{kind}_redis_us"])
            if grown > MOST_GROWTH:
                found.append(
                    f"{kind} at {one['size']:,} {one['state']} jobs costs {grown:.2f} times that at the fewest"
                )
    found += [
        f"{one['script']} of {one['what']}, {one['place']}: {one['cpu_ms']:.1f} ms of CPU, over {scripts.BUDGET_MS:g}"
        for one in result.get("scripts", [])
        if one["cpu_ms"] > scripts.BUDGET_MS
    ]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; not written unless it is all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="how many jobs, against the usual number; not written")
    options = parser.parse_args()
    if unknown := set(options.parts).difference(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    result = run(options.parts or PARTS, options.rounds, options.scale)
    if options.scale == 1.0 and not options.parts:
        picture = f"../benchmarks/results/scale-{result['facts']['date']}.svg"
        text = f"![Redis's CPU a job by the jobs in the queue]({picture})\n\n{text_of(result)}"
        file = pages.publish("scale", result, text)
        subprocess.run([chart.python(), chart.CHART / "scale.py", file], check=True)
    found = defects(result)
    print(*found, sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
