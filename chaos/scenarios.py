"""The scenarios: how large, which faults, what they may explain, and whether the fault was there at all."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import msgspec
from chaos.checker import Rules
from chaos.driver import Plan, Stage
from chaos.ledger import STALLED, Facts
from chaos.patching import ANOTHER_RELEASE
from chaos.witness import FORGOT

NOTHING: Final = frozenset({STALLED})
"""No run may be repeated, but for a machine that gave a worker no time to renew."""


class Size(msgspec.Struct, frozen=True):
    """One size of a scenario: what runs, and how many faults or for how many seconds."""

    plan: Plan
    faults: int = 0
    seconds: float = 0


class Scenario(msgspec.Struct, frozen=True):
    """What is played and what is allowed.

    Attributes:
        play: does the faults, and returns when the last one is over.
        fault: the kind of which there must be one in the ledger, or the scenario proved nothing.
        refuses: whether producers must have felt it: an add that was refused, or not answered.
    """

    about: str
    short: Size
    full: Size
    play: Callable[[Stage, Size], None]
    fault: str
    rules: Rules = Rules(explains=NOTHING)
    refuses: bool = False

    def fired(self, facts: Facts) -> int:
        """How often the fault was there; 0 when nobody felt it who must."""
        return facts.count(self.fault) if facts.refused or not self.refuses else 0


def kill_workers(stage: Stage, size: Size) -> None:
    """At random moments of the work."""
    stage.start_workers()
    for _ in stage.moments(size.faults):
        stage.kill_worker()


def stop_workers(stage: Stage, size: Size) -> None:
    """For longer than a lease and its recovery, so that another worker has the jobs when they go on."""
    stage.start_workers()
    for _ in stage.moments(size.faults):
        stage.stop_worker(size.seconds * stage.random.uniform(0.5, 1))


def lose_replies(stage: Stage, size: Size) -> None:
    """From the first job to the last."""
    assert stage.proxy is not None
    assert stage.plan.loss is not None
    with stage.fault("replies lost"):
        stage.proxy.loss = stage.plan.loss
        stage.start_workers()
        stage.wait_until_drained()
        stage.proxy.loss = 0
    for _ in range(stage.proxy.lost):
        with stage.fault("reply lost"):
            pass


def kill_redis(stage: Stage, size: Size) -> None:
    """At random moments of the work."""
    stage.start_workers()
    for _ in stage.moments(size.faults):
        stage.kill_redis()


def cut_off_redis(stage: Stage, size: Size) -> None:
    """When as many jobs run as can."""
    assert stage.proxy is not None
    stage.start_workers()
    stage.wait_until_busy()
    with stage.fault("unreachable"):
        stage.proxy.cut()
        assert stage.proxy.cut_off > 0
        time.sleep(size.seconds)
        stage.proxy.mend()


def flush_scripts(stage: Stage, size: Size) -> None:
    """Ten times a second."""
    stage.start_workers()
    stage.flush_scripts(0.1)


def fill_redis(stage: Stage, size: Size) -> None:
    """In the midst of the work."""
    stage.start_workers()
    for _ in stage.moments(1):
        with stage.out_of_memory():
            time.sleep(size.seconds)


def upgrade(stage: Stage, size: Size) -> None:
    """One worker after the other gets the other release's scripts, to and fro."""
    stage.start_workers()
    changed = set[str]()
    for _ in stage.moments(size.faults):
        name = stage.pick()
        others = () if name in changed else ANOTHER_RELEASE
        before = set(stage.workers)
        stage.replace_worker(name, others)
        if others:
            changed |= stage.workers.keys() - before


SCENARIOS: Final[Mapping[str, Scenario]] = MappingProxyType(
    {
        "worker-kills": Scenario(
            "kill -9 of workers",
            Size(Plan(20_000), faults=10),
            Size(Plan(1_000_000, workers=4), faults=200),
            kill_workers,
            "killed",
            Rules(explains=frozenset({"killed", STALLED}), kills=True),
        ),
        "worker-stops": Scenario(
            "SIGSTOP of workers for longer than their lease",
            Size(Plan(10_000, lease=2), faults=2, seconds=6),
            Size(Plan(200_000, lease=2), faults=50, seconds=6),
            stop_workers,
            "stopped",
            Rules(explains=frozenset({"stopped", STALLED}), kills=True),
        ),
        "lost-replies": Scenario(
            "1 % of all replies lost",
            Size(Plan(10_000, concurrency=10, batch=10, loss=0.01, lease=30)),
            Size(Plan(200_000, concurrency=10, batch=10, loss=0.01, lease=30)),
            lose_replies,
            "reply-lost",
        ),
        "redis-kills": Scenario(
            "kill -9 of Redis, append-only file, everysec",
            Size(Plan(20_000, fsync="everysec"), faults=4),
            Size(Plan(500_000, fsync="everysec"), faults=100),
            kill_redis,
            "redis-killed",
            Rules(explains=frozenset({FORGOT, "redis-killed", STALLED}), forgets=frozenset({"redis-killed"})),
        ),
        "redis-kills-always": Scenario(
            "kill -9 of Redis, append-only file, always: nothing may be forgotten",
            Size(Plan(10_000, fsync="always"), faults=3),
            Size(Plan(100_000, fsync="always"), faults=50),
            kill_redis,
            "redis-killed",
        ),
        "unreachable": Scenario(
            "Redis unreachable while jobs run",
            Size(Plan(200, workers=2, concurrency=50, lease=5, ms=24_000, loss=0, plain=True), seconds=15),
            Size(Plan(1_000, workers=2, concurrency=250, lease=30, ms=100_000, loss=0, plain=True), seconds=60),
            cut_off_redis,
            "unreachable",
        ),
        "script-flush": Scenario(
            "SCRIPT FLUSH ten times a second",
            Size(Plan(20_000, keep=100)),
            Size(Plan(500_000, keep=100)),
            flush_scripts,
            "scripts-flushed",
        ),
        "out-of-memory": Scenario(
            "Redis out of memory",
            Size(Plan(10_000, ms=50, backlog=3_000), seconds=10),
            Size(Plan(200_000, ms=50, backlog=10_000), seconds=60),
            fill_redis,
            "out-of-memory",
            refuses=True,
        ),
        "upgrade": Scenario(
            "two releases of the scripts side by side",
            Size(Plan(20_000), faults=6),
            Size(Plan(200_000), faults=40),
            upgrade,
            "replaced",
        ),
    }
)
"""By the name that `make chaos ARGS="--scenario NAME"` takes."""
