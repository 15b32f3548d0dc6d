"""What the benchmarks of size and time make of their figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from benchmarks.scaling import pages
from benchmarks.scaling.noop_worker import holdings
from benchmarks.scaling.rig import Cost

from benchmarks import scale, soak

FACTS: dict[str, Any] = {
    "date": "2026-01-02",
    "cpu": "Some CPU",
    "cores": 2,
    "system": "Linux x86_64",
    "python": "3.11.7",
    "server": "Redis 7.0.15",
    "redis-py": "8.1.0",
    "load": 0.5,
}


def size(state: str, jobs: int, redis_us: float) -> dict[str, Any]:
    return {
        "state": state,
        "size": jobs,
        "bytes": 374.4,
        "add_redis_us": [3.0, 3.0, 3.5],
        "process_redis_us": [redis_us] * 3,
        "process_jobs_a_second": [70_000.0, 60_000.0, 80_000.0],
    }


def script(cpu_ms: float) -> dict[str, Any]:
    return {
        "script": "pump",
        "what": "1,000 jobs",
        "place": "waiting",
        "calls": 10,
        "cpu_ms": cpu_ms,
        "median_ms": 1.0,
        "max_ms": 9.0,
    }


def mark(jobs: int, rss: int, *, kind: str = "noop", used: int = 2**20, held: int = 1) -> dict[str, Any]:
    return {
        "jobs": jobs,
        "kind": kind,
        "seconds": 1.0,
        "rss": rss,
        "used_memory": used,
        "events": used // 2,
        "stored": used // 2,
        "keys": 30,
        "worker_cpu": 1.5,
        "holdings": {"redqueue.worker.runner.Runner._runs": held},
    }


def soaked(**last: Any) -> dict[str, Any]:
    """A soak in which the last mark of completed jobs may differ."""
    latest: dict[str, Any] = {"rss": 41 * 2**20, **last}
    noop = [mark(10, 40 * 2**20), mark(500, 41 * 2**20), mark(1000, **latest)]
    return soak.without_holdings(
        {"facts": FACTS, "marks": [*noop, mark(10, 42, kind="fail"), mark(100, 42, kind="fail")], "audit": []}
    )


def test_a_cost_knows_its_rate_and_redis_share_of_a_core() -> None:
    cost = Cost(jobs=1000, seconds=0.1, redis_us=50)
    assert (cost.jobs_a_second, cost.redis_share) == (10_000, 0.5)


def test_a_spread_is_the_median_with_the_least_and_the_most() -> None:
    assert pages.spread([3000, 1000, 2000], 0) == "2,000 (1,000 to 3,000)"
    assert pages.spread([1.25]) == "1.2"


def test_growth_compares_medians() -> None:
    assert pages.growth([8, 6, 100], [4, 1, 9]) == 2


def test_a_table_is_markdown_with_figures_to_the_right() -> None:
    assert pages.table(["a", "b"], [["x", "1"]]) == "| a | b |\n| --- | ---: |\n| x | 1 |"


def test_only_what_is_between_the_marks_of_a_page_is_rewritten() -> None:
    page = "before\n<!-- a:begin -->\nold\n<!-- a:end -->\nafter <!-- b:begin --><!-- b:end -->\n"
    new = pages.rewrite(page, "a", "new")
    assert new == page.replace("old", "new")
    assert pages.rewrite(new, "a", "new") == new


@pytest.mark.parametrize("page", ["", "<!-- a:begin -->", "<!-- a:end -->"])
def test_a_page_without_its_marks_is_refused(page: str) -> None:
    with pytest.raises(ValueError, match="a:begin"):
        pages.rewrite(page, "a", "new")


def test_published_results_are_dated_and_the_page_has_the_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(pages, "PAGE", tmp_path / "scale.md")
    pages.PAGE.write_text("<!-- soak:begin --><!-- soak:end -->", encoding="utf-8")
    file = pages.publish("soak", {"facts": FACTS}, "the table")
    assert file.name == "soak-2026-01-02.json"
    assert json.loads(file.read_text(encoding="utf-8"))["facts"] == FACTS
    assert "\nthe table\n" in pages.PAGE.read_text(encoding="utf-8")


def test_sizes_are_compared_with_the_fewest_jobs_in_the_same_place() -> None:
    found = [size("waiting", 10_000, 8), size("waiting", 1_000_000, 12), size("delayed", 10_000, 20)]
    rows = scale.sizes_table(found).splitlines()[2:]
    assert [row.split(" | ")[3] for row in rows] == ["1.00", "1.50", "1.00"]
    assert rows[1].startswith("| 1,000,000 waiting | 3.0 (3.0 to 3.5) | 12.0 (12.0 to 12.0) |")


def test_growth_beyond_a_logarithm_and_slow_scripts_are_defects() -> None:
    sound = [size("waiting", 10_000, 8), size("waiting", 1_000_000, 11.9)]
    assert scale.defects({"sizes": sound, "scripts": [script(4.9)]}) == []
    grown = [size("waiting", 10_000, 8), size("waiting", 1_000_000, 12.1)]
    found = scale.defects({"sizes": grown, "scripts": [script(5.1)]})
    assert found == [
        "process at 1,000,000 waiting jobs costs 1.51 times that at the fewest",
        "pump of 1,000 jobs, waiting: 5.1 ms of CPU, over 5",
    ]


def test_a_sound_soak_has_no_defects_and_says_so() -> None:
    result = soaked()
    assert soak.defects(result) == []
    text = soak.text_of(result)
    assert "| 1,000 completed | 41.0 | 1.0 | 0.5 | 30 | 1.5 |" in text
    assert "went to 102.5%" in text
    assert "none grew" in text


@pytest.mark.parametrize(
    ("last", "found"),
    [
        ({"rss": 43 * 2**20}, "the worker's memory over completed jobs grew 1.07 times from 10 jobs on"),
        ({"used": 2**21}, "Redis's memory, without events, over completed jobs grew 2.00 times from 10 jobs on"),
        ({"held": 100}, "redqueue.worker.runner.Runner._runs: 99 more"),
    ],
    ids=["rss", "used_memory", "holdings"],
)
def test_what_a_soak_leaves_behind_is_a_defect(last: dict[str, int], found: str) -> None:
    assert soak.defects(soaked(**last)) == [found]


def test_a_leak_in_an_object_of_redqueues_is_seen() -> None:
    from redqueue.core.keys import Keys

    keys = Keys("a", "redqueue")
    before = holdings()
    keys._names |= {f"leak {n}": "" for n in range(20)}
    assert soak.left_over(before, holdings()) == {"redqueue.core.keys.Keys._names": 20}
