"""The same random program on the model and on the server: answers and all that is stored are the same after each step.

The ordinary run plays the same programs each time. HYPOTHESIS_PROFILE=soak plays long new ones for minutes;
REDQUEUE_SOAK_EXAMPLES says how many.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias

import fakeredis
import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from redis.exceptions import OutOfMemoryError
from tests.protocol.driver import ERROR, START, Wire, job
from tests.protocol.view import differences, expected, findings, stored

from redqueue.core import inspect, lease, steer, sweep
from redqueue.core.add import add
from redqueue.core.keys import Keys
from redqueue.core.lease import NO_REPORTS, Claimed, ListRule, Reports, Settles, Trip
from redqueue.core.lifecycle import (
    FOR_ANOTHER,
    Complete,
    Crash,
    Fail,
    Release,
    RetryIn,
    RunRules,
    Settlement,
    SnoozeFor,
    words_of,
)
from redqueue.testing.model import FINISHED, STATES, Model

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import redis

    from redqueue.core.report import Kind
    from redqueue.core.script import Call
    from redqueue.options import State

MAX_CRASHES: Final = 2
IDS: Final = [f"j{n}" for n in range(6)]

ids = st.sampled_from(IDS)
picks = st.sampled_from([0, 0, 0, 1, 1, 2, 3, 5, 8])
steering = st.sampled_from(["cancel", "cancel", "retry", "retry_counting_on", "promote", "remove", "remove_by_force"])
lease_lengths = st.sampled_from([30_000, 30_000, 10_000])
lanes = st.sampled_from(["0", "1"])
producer_lanes = st.sampled_from(["p:0", "p:1"])
placing: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {},
        {"priority": 5},
        {"priority": -7},
        {"priority": -1000, "lifo": True},
        {"priority": 1000, "lifo": True},
        {"delay": 2},
        {"delay": 40, "priority": -3},
        {"delay": 0.001, "priority": 1000},
        {"expires_in": 3},
        {"delay": 2, "expires_in": 0.9, "priority": 3},
    ]
)
settlements: st.SearchStrategy[Settlement] = st.sampled_from(
    [
        Complete(b"1"),
        Complete(b'{"sent":2}'),
        Fail(ERROR),
        RetryIn(0, ERROR),
        RetryIn(2000, ERROR),
        SnoozeFor(0, ""),
        SnoozeFor(3000, "busy"),
        SnoozeFor(3000, FOR_ANOTHER + "no such job type"),
        SnoozeFor(0, FOR_ANOTHER + "no such key"),
        Release(),
        Release("interrupted"),
        Crash(),
    ]
)
keeps = st.sampled_from(["-", "-", "0", "800", "9000"])
settled = st.lists(st.tuples(picks, settlements, keeps), min_size=1, max_size=3)
reports = st.lists(
    st.tuples(picks, st.sampled_from("pspsl"), st.sampled_from([b"1", b'["at",7]', b"x"])), min_size=1, max_size=4
)
ways = st.sampled_from(["plain", "plain", "woken", "woken", "woken", "lost", "not sent", "foreign"])
rules = st.sampled_from([ListRule(), ListRule((2, -1), (1, -1)), ListRule((0, -1), (3, 20_000)), ListRule((3, 15_000))])
steps = [900, 1, 2_000, 2_000, 5_000, 5_000, 10_000, 10_000, 14_000, 16_000, 31_000, 70_000, 4_000_000]
steps_back = [-700, -20_000, -3_600_000]
times = st.sampled_from([*steps, *steps_back])


Settled: TypeAlias = tuple[int, Settlement, str]
"""Which run, how, and how long its outcome is kept."""
Told: TypeAlias = "tuple[int, Kind, bytes]"
"""Which run tells, of what kind, and the text."""
Step: TypeAlias = "tuple[Call[Any], Callable[[], str]]"
"""A call, and what it does to the model."""


@dataclass
class Worker:
    """What a session knows: its numbers, what it was given, and for each lane the call that is not answered yet."""

    name: str
    number: int = 0

    def __post_init__(self) -> None:
        self.runs: list[Claimed] = []
        self.unanswered: dict[str, dict[str, Any]] = {}


class Programs(RuleBasedStateMachine):
    """Each rule makes one step on both sides."""

    client: ClassVar[redis.Redis]
    has_memory_limits: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self.client.flushall()
        self.wire = Wire(self.client, Keys("q", "redqueue"))
        self.model = Model(START)
        self.workers: list[Worker] = []
        self.gone: list[Worker] = []
        self.numbers: dict[str, int] = {"p:0": 0, "p:1": 0}
        self.sent_by_producers: list[tuple[str, Call[Any]]] = []
        self.sent_by_workers: list[dict[str, Any]] = []

    @initialize(lease_ms=lease_lengths, place=placing)
    def start(self, lease_ms: int, place: dict[str, Any]) -> None:
        """Two workers, and something to do."""
        self.enter(lease_ms)
        self.enter(lease_ms)
        self.add("p:0", IDS[:4], place, twice=False)
        for worker in self.workers:
            trip = self.make_trip(worker, "0", Settles([], [], []), 1, ListRule())
            worker.runs += self.pump_both(trip).claimed

    # Producers

    @rule(lane=producer_lanes, wanted=st.lists(ids, min_size=1, max_size=4), place=placing, twice=st.booleans())
    def add(self, lane: str, wanted: list[str], place: dict[str, Any], twice: bool) -> None:
        made = [job(self.model.now, one, **place) for one in wanted]
        told = [(one.id, one.envelope, one.place) for one in made]
        self.steer(lane, add(self.wire.keys, made), lambda: self.model.add(told), twice)

    @rule(who=picks, lane=producer_lanes, place=placing, twice=st.booleans())
    def add_in_the_place_of_what_is_over(self, who: int, lane: str, place: dict[str, Any], twice: bool) -> None:
        """Of a finished job whose own age is over, and which nothing has swept yet."""
        self.pump(who, "0", [(0, Complete(b"1"), "800")], 0, ListRule(), "plain")
        self.pass_time(900, scan=False)
        now = self.model.now
        over = [job.id for job in self.model.jobs.values() if job.expires is not None and job.expires <= now]
        self.add(lane, [*over, IDS[0]], place, twice)

    @rule(lane=producer_lanes, how=steering, pick=picks, twice=st.booleans())
    def steer_one(self, lane: str, how: str, pick: int, twice: bool) -> None:
        """Of a job that can be steered so, or of any other, or of none."""
        fit = {"cancel": ["active", "waiting", "delayed"], "promote": ["delayed"], "remove_by_force": ["active"]}
        found = [job.id for state in fit.get(how, FINISHED) for job in self.model.jobs_in(state)]
        targets = [*found, *IDS]
        call, act = getattr(self, how)(targets[pick % len(targets)])
        self.steer(lane, call, act, twice)

    def cancel(self, id: str) -> Step:
        reason = f"at {self.model.now}"
        return steer.cancel(self.wire.keys, id, reason), lambda: self.model.cancel(id, reason)

    def retry(self, id: str) -> Step:
        return steer.retry(self.wire.keys, id), lambda: self.model.retry(id, fresh=True)

    def retry_counting_on(self, id: str) -> Step:
        return steer.retry(self.wire.keys, id, fresh=False), lambda: self.model.retry(id, fresh=False)

    def promote(self, id: str) -> Step:
        return steer.promote(self.wire.keys, id), lambda: self.model.promote(id)

    def remove(self, id: str) -> Step:
        return steer.remove(self.wire.keys, id), lambda: self.model.remove([id], force=False)

    def remove_by_force(self, id: str) -> Step:
        return steer.remove(self.wire.keys, id, force=True), lambda: self.model.remove([id], force=True)

    @rule(
        lane=producer_lanes, how=st.sampled_from(["resume", "resume", "pause", "clean", "obliterate"]), data=st.data()
    )
    def steer_the_queue(self, lane: str, how: str, data: st.DataObject) -> None:
        if how == "clean":
            self.clean(lane, data.draw(st.sampled_from(("waiting", "delayed", *FINISHED))))
        elif how == "obliterate":
            force = data.draw(st.booleans())
            call = next(sweep.obliterate(self.wire.keys, force=force))
            self.steer(lane, call, lambda: self.model.obliterate(force), twice=True)
        else:
            call = steer.pause(self.wire.keys) if how == "pause" else steer.resume(self.wire.keys)
            self.steer(lane, call, lambda: self.model.pause(how == "pause"), twice=True)

    def clean(self, lane: str, state: State) -> None:
        older = 6 if state in FINISHED and self.model.now % 2 else 0
        call = next(sweep.clean(self.wire.keys, state, older_than=older, limit=3))
        self.steer(lane, call, lambda: self.model.sweep(state, older * 1000, 3), twice=True)

    @precondition(lambda self: self.sent_by_producers)
    @rule(pick=picks)
    def send_a_producer_s_call_again(self, pick: int) -> None:
        lane, call = self.sent_by_producers[-1 - pick % len(self.sent_by_producers)]
        before = stored(self.wire)
        word = self.wire.send(call)[0].decode().split(" ")[0]
        assert word == self.model.numbered(lane, call.args[0], never)
        assert stored(self.wire) == before

    def steer(self, lane: str, call: Call[Any], act: Callable[[], str], twice: bool) -> None:
        """One numbered call; with `twice` its first answer is lost, and it is sent again."""
        self.numbers[lane] += 1
        call = call.on(self.wire.keys.producer(lane), self.numbers[lane])
        self.sent_by_producers.append((lane, call))
        raw = self.wire.send(call)
        if twice:
            before = stored(self.wire)
            assert self.wire.send(call) == raw
            assert stored(self.wire) == before
        assert raw[0].decode().split(" ")[0] == self.model.numbered(lane, self.numbers[lane], act)

    # Workers

    def enter(self, lease_ms: int) -> None:
        worker = Worker(f"s{len(self.workers) + len(self.gone)}")
        self.workers.append(worker)
        self.enter_both(worker, lease_ms)

    @precondition(lambda self: self.gone)
    @rule(who=picks, lease_ms=lease_lengths)
    def enter_late(self, who: int, lease_ms: int) -> None:
        """A copy of its first call, when it has left or is dead."""
        self.enter_both(self.gone[who % len(self.gone)], lease_ms)

    def enter_both(self, worker: Worker, lease_ms: int) -> None:
        call = lease.enter(self.wire.keys, worker.name, f"host:{worker.name}", "host", 7, lease_ms)
        assert self.wire(call) == self.model.enter(worker.name, f"host:{worker.name}", lease_ms)

    @rule(who=picks, lane=lanes, n=st.sampled_from([2, 1, 5]), rule=rules, how=ways)
    def claim(self, who: int, lane: str, n: int, rule: ListRule, how: str) -> None:
        self.pump(who, lane, [], n, rule, how)

    @rule(who=picks, lane=lanes, settled=settled, rule=rules, how=ways)
    def settle(self, who: int, lane: str, settled: list[Settled], rule: ListRule, how: str) -> None:
        self.pump(who, lane, settled, 0, rule, how)

    @rule(who=picks, lane=lanes, settled=settled, n=st.sampled_from([2, 1, 5]), rule=rules, how=ways)
    def settle_and_claim(self, who: int, lane: str, settled: list[Settled], n: int, rule: ListRule, how: str) -> None:
        self.pump(who, lane, settled, n, rule, how)

    @rule(who=picks, lane=lanes, told=reports, settled=st.just([]) | settled, n=st.sampled_from([0, 1]), how=ways)
    def tell(self, who: int, lane: str, told: list[Told], settled: list[Settled], n: int, how: str) -> None:
        """What runs tell of themselves, and maybe how they end in the same trip."""
        self.pump(who, lane, settled, n, ListRule(), how, told)

    def pump(
        self,
        who: int,
        lane: str,
        settled: list[Settled],
        n: int,
        rule: ListRule,
        how: str,
        told: Sequence[Told] = (),
    ) -> None:
        """Settles of any run that somebody was ever given: right, stale, foreign, twice.

        A lane without an answer, since the call or the answer was lost, sends the same again, maybe much later.
        """
        worker = self.workers[who % len(self.workers)]
        trip = worker.unanswered.pop(lane, None)
        if trip is None:
            holder = self.stranger_to(worker) if how == "foreign" else worker
            handed = self.handed(holder, settled)
            trip = self.make_trip(worker, lane, handed, n, rule)
            trip["reports"] = self.reported(holder, told)
            trip["unstarted"] = () if how == "plain" else worker.runs[-3:]
        if how == "woken":
            self.wire.take_token()
            self.model.token = False
        answer = None if how == "not sent" else self.pump_both(trip)
        if answer is None or how == "lost":
            worker.unanswered[lane] = trip
        else:
            worker.runs += answer.claimed

    @precondition(lambda self: self.sent_by_workers)
    @rule(pick=picks)
    def send_a_pump_again(self, pick: int) -> None:
        """A resend, or a late copy of an older one; also of a worker that left, or is dead."""
        trip = self.sent_by_workers[-1 - pick % len(self.sent_by_workers)]
        before = stored(self.wire)
        self.pump_both(trip)
        assert stored(self.wire) == before

    @rule(who=picks, most=st.sampled_from([8, 1, 0]))
    def renew(self, who: int, most: int) -> None:
        """Of any run that it was ever given."""
        worker = self.workers[who % len(self.workers)]
        runs = worker.runs[-most:] if most else []
        self.renew_both(worker, runs)

    @precondition(lambda self: self.gone)
    @rule(who=picks)
    def renew_late(self, who: int) -> None:
        """A worker that was given up for dead after all."""
        worker = self.gone[who % len(self.gone)]
        self.renew_both(worker, worker.runs)

    def recover(self) -> None:
        call = lease.recover(self.wire.keys, MAX_CRASHES)
        error = call.args[len(call.script.header.families) + call.script.header.args.index(("error", "text"))]
        assert self.wire(call) == self.model.recover(MAX_CRASHES, error.decode())

    @rule(lives=st.booleans())
    def let_leases_end(self, lives: bool) -> None:
        """Scans for a while, and perhaps one worker renews."""
        for _ in range(5):
            self.pass_time(self.model.lease // 3, scan=True)
            if lives and self.workers:
                self.renew_both(self.workers[0], self.workers[0].runs[-8:])

    @rule(
        how=st.sampled_from(["enter", "leave", "leave", "die"]),
        lease_ms=lease_lengths,
        who=picks,
        most=st.sampled_from([0, 2, 100]),
    )
    def come_or_go(self, how: str, lease_ms: int, who: int, most: int) -> None:
        if how == "enter" or len(self.workers) == 1:
            if len(self.workers) < 3:
                self.enter(lease_ms)
            return
        worker = self.workers.pop(who % len(self.workers))
        self.gone.append(worker)
        if how == "leave":
            self.leave(worker, worker.runs[::-1][:most])

    def leave(self, worker: Worker, runs: list[Claimed]) -> None:
        call = lease.leave(self.wire.keys, worker.name, ["0", "1"], runs)
        assert self.wire(call) == self.model.leave(worker.name, ["0", "1"], runs)
        before = stored(self.wire)
        assert self.wire(call) == 0
        assert stored(self.wire) == before

    @rule(ms=times, scan=st.booleans())
    def pass_time(self, ms: int, scan: bool) -> None:
        self.model.now += ms
        self.wire.set_clock(self.model.now)
        if scan:
            self.recover()

    @rule(who=picks, lane=lanes, settled=settled, wanted=st.lists(ids, min_size=1, max_size=3), place=placing)
    def run_out_of_memory(
        self, who: int, lane: str, settled: list[Settled], wanted: list[str], place: dict[str, Any]
    ) -> None:
        """Adds are refused whole; what workers do goes on, so that the server drains."""
        if not self.has_memory_limits:
            return
        with self.wire.full():
            before = stored(self.wire)
            call = add(self.wire.keys, [job(self.model.now, one, **place) for one in wanted])
            with pytest.raises(OutOfMemoryError):
                self.wire.send(call.on(self.wire.keys.producer("p:0"), self.numbers["p:0"] + 1))
            assert stored(self.wire) == before
            self.pump(who, lane, settled, 2, ListRule(), "plain")
            self.renew(who, 8)
            self.recover()

    @rule()
    def forget_the_scripts(self) -> None:
        """As after a restart or a failover: the next calls bring them along."""
        self.client.script_flush()

    def stranger_to(self, worker: Worker) -> Worker:
        return next((one for one in (*self.workers, *self.gone) if one is not worker), worker)

    def make_trip(self, worker: Worker, lane: str, settles: Settles, n: int, rule: ListRule) -> dict[str, Any]:
        worker.number += 1
        trip = {"session": worker.name, "worker": f"host:{worker.name}", "lane": lane, "number": worker.number}
        trip |= {"settles": settles, "n": n, "unstarted": (), "rule": rule, "reports": NO_REPORTS}
        return trip

    def handed(self, worker: Worker, settled: list[Settled]) -> Settles:
        """Outcomes of its runs: picks begin with those that can still be settled and aren't yet in this call."""
        handed = Settles([], [], [])
        for pick, settlement, keep in settled if worker.runs else ():
            run = self.pick_run(worker, pick, handed.runs)
            if isinstance(settlement, Crash) and run.crashes + 1 >= MAX_CRASHES:
                settlement = Fail(ERROR)  # as a worker decides it
            options = RunRules(retries=3, backoff=1, keep_completed=keep, keep_failed=keep)
            handed.add(run, *words_of(settlement, attempt=run.failed + 1, rules=options))
        return handed

    def reported(self, worker: Worker, told: Sequence[Told]) -> Reports:
        rows = [(self.pick_run(worker, pick), kind, text) for pick, kind, text in told if worker.runs]
        return Reports(*zip(*rows, strict=True)) if rows else NO_REPORTS

    def pick_run(self, worker: Worker, pick: int, but: Sequence[Claimed] = ()) -> Claimed:
        """One of its runs: picks begin with those that it holds."""
        held = [one for one in worker.runs if self.model.holds(worker.name, one) and one not in but]
        runs = [*held, *reversed(worker.runs)]
        return runs[pick % len(runs)]

    def pump_both(self, trip: dict[str, Any]) -> Trip:
        answer = self.wire(lease.pump(self.wire.keys, **trip))
        assert facts(answer) == facts(self.model.pump(**trip))
        self.sent_by_workers.append(trip)
        return answer

    def renew_both(self, worker: Worker, runs: list[Claimed]) -> None:
        runs = list({(run.id, run.number): run for run in runs}.values())
        assert self.wire(lease.renew(self.wire.keys, worker.name, runs)) == self.model.renew(worker.name, runs)

    # After each step

    @invariant()
    def all_that_is_stored_is_as_the_model_says(self) -> None:
        assert differences(stored(self.wire), expected(self.model)) == []

    @invariant()
    def an_audit_finds_only_what_waits_for_a_scan(self) -> None:
        assert sorted(self.wire.audit()) == findings(self.model)

    @invariant()
    def the_numbers_are_as_the_model_says(self) -> None:
        stats = self.wire(inspect.get_stats(self.wire.keys))
        counted = (stats.waiting, stats.delayed, stats.active, stats.kept_completed, stats.kept_failed)
        assert counted == tuple(len(self.model.jobs_in(state)) for state in STATES[:5])


def facts(trip: Trip) -> Any:
    """What can be compared of an answer: runs are equal to themselves only."""
    return msgspec.structs.replace(trip, claimed=[msgspec.structs.asdict(run) for run in trip.claimed])


def never() -> str:
    raise AssertionError("the model had not carried it out before")


SOAK: Final = os.environ.get("HYPOTHESIS_PROFILE") == "soak"
ORDINARY: Final = settings(
    max_examples=200, stateful_step_count=40, derandomize=True, database=None, deadline=None, print_blob=True
)
LONG: Final = settings(
    max_examples=int(os.environ.get("REDQUEUE_SOAK_EXAMPLES", "5000")),
    stateful_step_count=80,
    database=None,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


class TestPrograms(Programs.TestCase):  # type: ignore[misc, valid-type]
    """Faults: L03, D04, D06."""

    settings = LONG if SOAK else ORDINARY

    @pytest.fixture(autouse=True)
    def _connect(self, client: redis.Redis) -> None:
        Programs.client = client


class ProgramsOnFake(Programs):
    """The same on fakeredis, which has no limit of memory."""

    has_memory_limits = False


class TestProgramsOnFake(ProgramsOnFake.TestCase):  # type: ignore[misc, valid-type]
    settings = settings(ORDINARY, max_examples=25)

    @pytest.fixture(autouse=True)
    def _connect(self) -> None:
        ProgramsOnFake.client = fakeredis.FakeRedis()
