"""What is measured and how it is read: the figures, their rounds, medians and ratios. Pure data."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

import msgspec


class Kind(NamedTuple):
    """One figure of the table."""

    key: str
    title: str
    unit: str
    better: Literal["more", "less"]
    measurement: str  # the run that it comes from
    a_job: bool = False  # compared per job: runs of different sizes


COSTS: Final = "costs"  # of the process run of a peer's first flavour

KINDS: Final = (
    Kind("process_async", "process, `async def`", "jobs/s", "more", "process_async"),
    Kind("process_plain", "process, plain function", "jobs/s", "more", "process_plain"),
    Kind("process_ten", "process, 10 at once", "jobs/s", "more", "process_ten"),
    Kind("add_one", "add, one at a time", "jobs/s", "more", "add_one"),
    Kind("add_one_sync", "add, one at a time, sync twin", "jobs/s", "more", "add_one_sync"),
    Kind("add_fifty", "add, 50 at once", "jobs/s", "more", "add_fifty"),
    Kind("add_bulk", "add, bulk", "jobs/s", "more", "add_bulk"),
    Kind("latency_p50", "pick-up, p50", "ms", "less", "latency"),
    Kind("latency_p99", "pick-up, p99", "ms", "less", "latency"),
    Kind("delayed", "delayed, all due at once", "s", "less", "delayed", a_job=True),
    Kind("bytes", "memory a waiting job", "bytes", "less", COSTS),
    Kind("redis_add", "Redis CPU, add", "us/job", "less", COSTS),
    Kind("redis_process", "Redis CPU, process", "us/job", "less", COSTS),
    Kind("worker_cpu", "worker CPU", "us/job", "less", COSTS),
    Kind("commands", "Redis commands, process", "a job", "less", COSTS),
    Kind("reads", "requests, process", "a job", "less", COSTS),
)
BY_KEY: Final[Mapping[str, Kind]] = {kind.key: kind for kind in KINDS}
MEASUREMENTS: Final = tuple(dict.fromkeys(kind.measurement for kind in KINDS if kind.measurement != COSTS))


class Figure(msgspec.Struct):
    """One figure of one peer over all rounds.

    Attributes:
        rounds: the values of the rounds that worked.
        jobs: how many jobs a round had.
        failed: why rounds did not work, one line each.
        unsupported: why the peer has no such figure.
    """

    rounds: list[float] = []
    jobs: int = 0
    failed: list[str] = []
    unsupported: str = ""

    @property
    def median(self) -> float | None:
        """Of the rounds; None when there is none."""
        return statistics.median(self.rounds) if self.rounds else None


class Entry(msgspec.Struct):
    """One peer as it was measured: what its peer.toml says, what was installed, and its figures by key."""

    name: str
    language: str
    package: str = msgspec.field(name="library")
    version: str
    page: str
    settings: str
    acknowledged: str
    results: str
    retries: str
    lost_on_crash: str
    notes: str
    versions: dict[str, str]
    figures: dict[str, Figure]

    def figure(self, key: str) -> Figure:
        """That figure; an empty one when it was not asked for."""
        return self.figures.get(key) or Figure()


class Run(msgspec.Struct):
    """All of one run of ``make bench``, as it is kept in benchmarks/results."""

    format: int
    date: str
    machine: dict[str, str]
    rounds: int
    scale: float
    seconds: float
    entries: list[Entry]

    def entry(self, name: str) -> Entry | None:
        """The entry of that name."""
        return next((one for one in self.entries if one.name == name), None)


def comparable(kind: Kind, figure: Figure) -> float | None:
    """The median, per job where rounds differ in size; None without a round that worked."""
    if figure.median is None or (kind.a_job and not figure.jobs):
        return None
    return figure.median / figure.jobs if kind.a_job else figure.median


def factor(kind: Kind, ours: Figure, theirs: Figure) -> float | None:
    """How many times better ours is than theirs; below 1 when theirs is better; None without both."""
    mine, other = comparable(kind, ours), comparable(kind, theirs)
    if mine is None or other is None or not mine or not other:
        return None
    return mine / other if kind.better == "more" else other / mine
