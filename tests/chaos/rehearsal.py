"""A small life of a queue, call by call, on a genuine server, with a ledger as real workers and producers write it.

Every fault of the scenarios is played once: a worker that dies, one that is stopped, an outage, replies that are lost,
late copies. It is what the checker is tried on: with redqueue's scripts it must find nothing, with a bug planted in one
of them it must find something.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec
import redis
from chaos.checker import Rules, Verdict, check
from chaos.ledger import Ledger, read
from chaos.patching import replaced
from chaos.stored import read_stored
from tests.protocol.driver import ERROR, LEASE, Producer, Session, Wire, job

from redqueue.core import inspect, lease, steer
from redqueue.core.add import add
from redqueue.core.keys import Keys
from redqueue.core.lease import Claimed, ListRule, Trip
from redqueue.core.lifecycle import Complete, Fail, Release, RetryIn, Settlement
from redqueue.core.script import Call, Script

RULES: Final = Rules(explains=frozenset({"killed", "stopped"}), kills=True)
LIMIT: Final = 3
KEEP_ALL: Final = ListRule((1000, -1), (1000, -1))
KEEP_TWO: Final = ListRule((2, -1), (2, -1))


class Bug(msgspec.Struct, frozen=True):
    """A text of a composed script that becomes another one.

    Attributes:
        found_as: the kind of finding that must be among those of the checker.
        keep_all: whether it shows when every finished job is kept, or when two are.
    """

    found_as: str
    script: str
    old: str
    new: str = ""
    keep_all: bool = True


@cache
def _planted(script: Script, bug: Bug) -> Script:
    return Script(script.name, replaced(script.text, bug.old, bug.new), script.header)


class BuggyWire(Wire):
    """Sends one script as the bug has it. `bitten`: it was sent at all."""

    def __init__(self, client: redis.Redis, keys: Keys, bug: Bug | None) -> None:
        super().__init__(client, keys)
        self._bug = bug
        self.bitten = bug is None

    def send(self, call: Call[Any]) -> Any:
        if self._bug is not None and call.script.name == self._bug.script:
            call = dataclasses.replace(call, script=_planted(call.script, self._bug))
            self.bitten = True
        return super().send(call)


class Worker:
    """One worker: what it claims it runs at once, and writes down."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.session = Session(world.wire, name)
        self.session.enter()
        self.ledger = Ledger(world.folder, name)
        self.ledger.note("limit", LIMIT)

    def claim(self, n: int = 1) -> list[Claimed]:
        """Claim and start up to n."""
        return self.start(self.world.wire(self.session.trip(n=n, rule=self.world.rule)))

    def start(self, trip: Trip) -> list[Claimed]:
        """Begin to run what a trip brought."""
        for run in trip.claimed:
            self.ledger.note("start", run.id, run.fence, run.failed + 1, self.world.tick())
        return trip.claimed

    def end(self, run: Claimed, verdict: str = "ok", settlement: Settlement | None = None, keep: str = "-") -> None:
        """Let a run end, and settle it."""
        self.ledger.note("end", run.id, run.fence, verdict, self.world.tick())
        done = settlement or Complete(str(run.fence).encode())
        self.session.settle(run, done, rule=self.world.rule, keep=keep)

    def fault(self, kind: str, since: int) -> None:
        """What was done to it, until now."""
        self.world.driver.note("fault", kind, self.name, since, self.world.tick())


class World:
    """A queue, a producer, and what is written down."""

    def __init__(self, client: redis.Redis, folder: Path, *, bug: Bug | None = None, keep_all: bool = True) -> None:
        self.wire = BuggyWire(client, Keys("q", "redqueue"), bug)
        self.folder = folder
        self.rule = KEEP_ALL if keep_all else KEEP_TWO
        self.keep_all = keep_all
        self.driver = Ledger(folder, "driver")
        self.producer = Producer(self.wire)
        self._other_lane = Producer(self.wire, "p:1")
        self._notes = Ledger(folder, "producer")
        self._findings: list[str] = []
        self._ticks = 0

    def tick(self) -> int:
        """The time in microseconds, later by each look."""
        self._ticks += 1
        return self.wire.now * 1000 + self._ticks

    def add(self, *ids: str, **options: Any) -> Call[Any]:
        """Add jobs; the call, to be sent again."""
        call = self.producer.prepare_add(*ids, **options)
        self.wire(call)
        for job_id in ids:
            self._notes.note("accepted", job_id, self.tick())
        return call

    def add_again(self, *ids: str) -> None:
        """As a producer does that was told that Redis did not answer: by a new call."""
        self._other_lane(add(self.wire.keys, [job(self.wire.now, one) for one in ids]))

    def cancel(self, job_id: str) -> None:
        answer = self.producer(steer.cancel(self.wire.keys, job_id, "not wanted"))
        self._notes.note("cancel", job_id, answer, self.tick())

    def pass_lease(self, *living: Worker) -> None:
        """Let the leases of all others end while these renew nothing, and live."""
        for _ in range(4):
            self.wire.pass_time(LEASE // 3)
            for worker in living:
                worker.session.renew()

    def recover(self) -> None:
        """One scan, and a look at what it left: the next claim could hide it."""
        self.wire.recover_all()
        self._findings += self.wire.audit()

    def run_the_rest(self) -> None:
        """Let a worker without faults run what a story left."""
        last = Worker(self, f"last-{self.tick()}")
        for _ in range(4):
            self.wire.pass_time(600)
            for run in last.claim(LIMIT):
                last.end(run)

    def verdict(self) -> Verdict:
        """What the checker says of it."""
        stats = self.wire(inspect.get_stats(self.wire.keys))
        findings = self._findings + self.wire.audit()
        stored = read_stored(self.wire.client, self.wire.keys, stats, findings, kept_all=self.keep_all)
        return check(read(self.folder), stored, RULES)


Story = Callable[[World], None]


def plain(world: World) -> None:
    """Three jobs of one worker, and one that fails for good."""
    world.add("plain1", "plain2", "plain3", "broken")
    worker = Worker(world, "plain")
    for run in worker.claim(LIMIT):
        worker.end(run)
    (run,) = worker.claim()
    worker.end(run, "failed", Fail(ERROR))


def added_twice(world: World) -> None:
    """The answer of an add is lost: the same call again, late, and a new call while the job runs."""
    call = world.add("twice", "dropped")
    world.wire(call)
    worker = Worker(world, "twice")
    (run,) = worker.claim()
    world.add_again("twice")
    worker.end(run)
    (run,) = worker.claim()
    worker.end(run, keep="-" if world.keep_all else "0")
    world.wire(call)


def died(world: World) -> None:
    """A worker is killed in the midst of two runs; another one takes them over."""
    world.add("died1", "died2")
    victim, heir = Worker(world, "victim"), Worker(world, "heir")
    victim.claim(2)
    victim.fault("killed", world.tick())
    world.pass_lease(heir)
    world.recover()
    for run in heir.claim(2):
        heir.end(run)


def reaped(world: World) -> None:
    """A supervisor sees one of two workers die: only that one's job is taken back."""
    world.add("reaped", "goes-on")
    victim, living = Worker(world, "reaped-worker"), Worker(world, "living-worker")
    victim.claim()
    (run,) = living.claim()
    victim.fault("killed", world.tick())
    world.wire.drive(lease.expire_session(world.wire.keys, "reaped-worker", ["0", "1"], 3))
    (again,) = living.claim()
    living.end(again)
    for more in living.claim():
        living.end(more)
    living.end(run)


def stopped(world: World) -> None:
    """A worker is stopped for longer than its lease, and settles when somebody else runs its job."""
    world.add("stopped")
    slow, quick = Worker(world, "slow"), Worker(world, "quick")
    (late,) = slow.claim()
    since = world.tick()
    world.pass_lease(quick)
    world.recover()
    (run,) = quick.claim()
    slow.fault("stopped", since)
    slow.end(late)
    quick.end(run)


def back_in_time(world: World) -> None:
    """A worker is stopped for longer than its lease, and settles before anybody else has its job."""
    world.add("back")
    slow, other = Worker(world, "slow-one"), Worker(world, "other")
    (late,) = slow.claim()
    world.pass_lease(other)
    world.recover()
    slow.end(late)
    for run in other.claim():
        other.end(run)


def outage(world: World) -> None:
    """Redis is away for two leases: who renews late has its job nevertheless."""
    world.add("outage")
    worker, other = Worker(world, "outage-worker"), Worker(world, "first-back")
    (run,) = worker.claim()
    world.wire.pass_time(2 * LEASE)
    world.recover()
    for taken in other.claim():
        other.end(taken)
    worker.session.renew(run)
    worker.end(run)


def long_run(world: World) -> None:
    """A run of three leases, renewed as it should be, while another worker recovers."""
    world.add("long")
    worker, other = Worker(world, "patient"), Worker(world, "eager")
    (run,) = worker.claim()
    for _ in range(9):
        world.wire.pass_time(LEASE // 3)
        worker.session.renew(run)
        other.session.renew()
        world.recover()
        for taken in other.claim():
            other.end(taken)
    worker.end(run)


def claim_answered_late(world: World) -> None:
    """The answer of a claim is lost until another worker has done the job."""
    world.add("late-claim")
    worker, other = Worker(world, "cut-off"), Worker(world, "not-cut-off")
    call = worker.session.trip(n=1, rule=world.rule)
    world.wire(call)
    world.pass_lease(other)
    world.recover()
    for run in other.claim():
        other.end(run)
    for run in worker.start(world.wire(call)):
        worker.end(run)


def settled_again(world: World) -> None:
    """The answer of a trip that settles is lost, and the trip is sent again."""
    world.add("settled-again")
    worker = Worker(world, "resender")
    (run,) = worker.claim()
    worker.ledger.note("end", run.id, run.fence, "ok", world.tick())
    call = worker.session.trip((run, Complete(str(run.fence).encode())), rule=world.rule)
    world.wire(call)
    world.wire(call)


def tried_again(world: World) -> None:
    """A job that asks for another try, at once and later."""
    for delay_ms in (0, 1000):
        job_id = f"flaky{delay_ms}"
        world.add(job_id, priority=delay_ms // 500)
        worker = Worker(world, f"for-{job_id}")
        (run,) = worker.claim()
        worker.end(run, "retry", RetryIn(delay_ms, ERROR))
        world.wire.pass_time(delay_ms)
        for again in worker.claim():
            worker.end(again)


def given_back(world: World) -> None:
    """Jobs that were claimed and not started go back, by a release and by a worker that leaves."""
    world.add("released", "left")
    worker = Worker(world, "leaver")
    first, second = world.wire(worker.session.trip(n=2, rule=world.rule)).claimed
    worker.session.settle(first, Release(), rule=world.rule)
    worker.session.leave(second)


def cancelled(world: World) -> None:
    """One that waits, one that is delayed, and one that runs."""
    world.add("cancel-active")
    worker = Worker(world, "cancelled-worker")
    (run,) = worker.claim()
    world.add("cancel-waiting")
    world.add("cancel-delayed", delay=1)
    for job_id in ("cancel-active", "cancel-waiting", "cancel-delayed"):
        world.cancel(job_id)
    worker.end(run, "cancelled", Release("cancelled"))


def many(world: World) -> None:
    """More than are kept, so that lists are trimmed while jobs wait and run."""
    world.add(*(f"many{n}" for n in range(8)))
    worker = Worker(world, "busy")
    running = worker.claim(2)
    for run in worker.claim():
        worker.end(run)
    for _ in range(3):
        for run in worker.claim():
            worker.end(run)
    for run in running:
        worker.end(run)


STORIES: Final[Sequence[Story]] = (
    plain,
    added_twice,
    died,
    reaped,
    stopped,
    back_in_time,
    outage,
    long_run,
    claim_answered_late,
    settled_again,
    tried_again,
    given_back,
    cancelled,
    many,
)
