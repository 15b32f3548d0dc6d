"""What a pump asks of Redis and what it makes of the answers: trips answered by hand, without a server."""

from __future__ import annotations

import asyncio
import math
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from redqueue.core.keys import Keys
from redqueue.core.lease import NO_REPORTS, Claimed, ListRule, Renewal, Trip
from redqueue.core.lifecycle import Complete, RunRules
from redqueue.errors import LeaseLost, RedisRefused
from redqueue.worker.config import SessionName, WorkerConfig
from redqueue.worker.pump import FLUSH_AT, LONGEST_BLOCK, Pump
from redqueue.worker.slots import Slots

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from redqueue.core.script import Call

RULES = RunRules(retries=3, backoff=1)
KEEP = ListRule((11, 12), (13, 14))


class Sent:
    """A call on its way: what it says, by the names of its script's contract, and its answer, once there is one."""

    def __init__(self, call: Call[Any]) -> None:
        header = call.script.header
        args = list(call.args[len(header.families) :])
        self.script = call.script.name
        self.said: dict[str, Any] = {name: args.pop(0) for name, _ in header.args}
        for name in header.lists:
            size = args.pop(0)
            self.said[name], args = args[:size], args[size:]
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def __getitem__(self, name: str) -> Any:
        return self.said[name]


class Wire:
    """The link, in the test's hand."""

    def __init__(self) -> None:
        self.sent: asyncio.Queue[Sent] = asyncio.Queue()
        self.blocks: list[tuple[str, float]] = []
        self.blocked = asyncio.Event()
        self.token: asyncio.Future[bool] | None = None

    async def deliver(self, call: Call[Any]) -> Any:
        sent = Sent(call)
        self.sent.put_nowait(sent)
        return await sent.answer

    async def block_on(self, wake: str, seconds: float, until: asyncio.Future[None] | None = None) -> bool:
        """Until the test sets the token, or the pump ends the wait: by `until`, or by a cancellation."""
        self.blocks.append((wake, seconds))
        token = self.token = asyncio.get_running_loop().create_future()
        self.blocked.set()
        try:
            await asyncio.wait([token] if until is None else [token, until], return_when=asyncio.FIRST_COMPLETED)
            return token.done() and token.result()
        finally:
            self.token = None
            self.blocked.clear()


class Stand:
    """A pump of the queue "q", what it started, and what it was told to stop."""

    def __init__(self, limit: int = 2, **config: Any) -> None:
        self.wire = Wire()
        self.started: list[Claimed] = []
        self.stopped: list[tuple[str, str]] = []
        self.slots = Slots(limit)
        options = {
            "limits": {"q": limit},
            "concurrency": limit,
            "url": "",
            "prefix": "redqueue",
            "lease_ms": 30_000,
            "grace_ms": 0,
            "unknown_grace_ms": 0,
            "burst": False,
            "prefetch": 0,
            "rules": RULES,
            "keep": KEEP,
            **config,
        }
        self.pump = Pump(
            Keys("q", "redqueue"),
            limit,
            WorkerConfig(**options),
            SessionName("s", "host", 7),
            self.wire,  # type: ignore[arg-type]
            self.slots,
            lambda pump, run: self.started.append(run),
            lambda pump, run, word: self.stopped.append((run.id, word)),
        )
        self.slots.lines.append(self.pump)
        self.serving: asyncio.Task[None] | None = None

    def serve(self) -> None:
        self.serving = asyncio.create_task(self.pump.serve())

    async def next(self) -> Sent:
        """The next call that leaves."""
        async with asyncio.timeout(10):
            return await self.wire.sent.get()

    async def blocked(self) -> None:
        """Until it waits for a token."""
        async with asyncio.timeout(10):
            await self.wire.blocked.wait()

    async def claim(self, *runs: Claimed, **fields: Any) -> Sent:
        """Answer the next trip with these jobs, and let the answer take effect."""
        sent = await self.next()
        await self.give(sent, *runs, **fields)
        return sent

    async def give(self, sent: Sent, *runs: Claimed, **fields: Any) -> None:
        answered = asyncio.Event()
        sent.answer.add_done_callback(lambda _: answered.set())
        sent.answer.set_result(trip(*runs, **fields))
        await answered.wait()
        await settled()

    def end(self, run: Claimed) -> None:
        """A run has completed."""
        self.pump.settle(run, Complete(b"1"), 1, RULES)
        self.slots.give_back(self.pump)


def trip(*runs: Claimed, **fields: Any) -> Trip:
    plain = {"stale": False, "words": "", "told": "", "now_ms": 1000, "lease_ms": 30_000, "next_due_ms": -1}
    return Trip(**{**plain, "claimed": list(runs), "more": False, "paused": False, **fields})


def job(id: str, number: int = 1, position: int = 1, **fields: Any) -> Claimed:
    return Claimed(id, number, position, b"", **fields)


async def settled() -> None:
    """Until all that can go on without an answer has gone on."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
async def stand() -> AsyncIterator[Stand]:
    made = Stand()
    yield made
    await leave(made)


async def leave(stand: Stand) -> None:
    stand.pump.end()
    if stand.serving is not None:
        stand.serving.cancel()
        await asyncio.wait([stand.serving], timeout=10)


async def test_the_first_trip_asks_for_as_many_as_there_are_slots(stand: Stand) -> None:
    stand.serve()
    sent = await stand.next()
    assert (sent.script, sent["session_id"], sent["worker"], sent["lane"]) == ("pump", "s", "host:7", "0")
    assert (sent["number"], sent["n"], sent["unstarted"]) == (1, 2, "")
    assert [sent[name] for name in ("completed_count", "completed_age", "failed_count", "failed_age")] == [
        *(11, 12, 13, 14)
    ]
    assert sent["settle_ids"] == sent["report_ids"] == []
    await settled()
    assert stand.wire.sent.empty() and stand.slots.free(stand.pump) == 0


async def test_what_it_gets_is_started_and_held_until_its_outcome_is_recorded(stand: Stand) -> None:
    stand.serve()
    before = monotonic()
    run = job("a")
    await stand.claim(run, lease_ms=15_000)
    assert stand.started == [run] and stand.pump.held == {run} and stand.pump.holding.is_set()
    assert (stand.pump.claimed, stand.pump.running, stand.pump.lease_ms) == (1, 1, 15_000)
    assert before + 10 <= run.fresh_until <= monotonic() + 10
    stand.end(run)
    sent = await stand.next()
    assert (sent["settle_ids"], sent["settle_numbers"]) == (["a"], [1])
    assert (sent["settle_verdicts"], sent["settle_outcomes"]) == (["c 0 - 1"], [b"1"])
    assert stand.pump.held == {run}, "the heartbeat renews it until Redis has answered"
    await stand.give(sent, words="o")
    assert not stand.pump.held and not stand.pump.holding.is_set()


async def test_every_trip_has_a_higher_number_and_counts_on_what_it_claims(stand: Stand) -> None:
    stand.serve()
    first = await stand.next()
    await stand.give(first, job("a"), more=True)
    second = await stand.next()
    assert (first["number"], second["number"]) == (1, 2)
    assert second["n"] == 1
    await stand.give(second, job("b", 2))
    assert (stand.pump.claimed, stand.pump.running) == (2, 2)


async def test_two_trips_out_at_once_ask_for_each_slot_once() -> None:
    stand = Stand(limit=4)
    stand.serve()
    await stand.claim(job("a"), job("b", position=2))
    stand.end(stand.started[0])
    first = await stand.next()
    assert first["n"] == 3
    stand.pump.look_again()
    second = await stand.next()
    assert (second["n"], second["lane"] != first["lane"]) == (0, True)
    await leave(stand)


async def test_a_slot_that_gets_free_while_a_trip_is_out_is_asked_for_by_the_other_lane() -> None:
    stand = Stand(limit=4)
    stand.serve()
    await stand.claim(*(job(id, position=n) for n, id in enumerate("abc", 1)), more=True)
    assert (await stand.next())["n"] == 1
    stand.end(stand.started[0])
    stand.pump.look_again()
    assert (await stand.next())["n"] == 1
    await leave(stand)


async def test_a_trip_that_asks_for_nothing_reserves_nothing(stand: Stand) -> None:
    stand.serve()
    await stand.claim(job("a"), job("b", position=2))
    stand.pump.settle(stand.started[0], Complete(b"1"), 1, RULES)
    assert (await stand.next())["n"] == 0
    assert (stand.pump.reserved, stand.slots.free(stand.pump)) == (0, 0)


async def test_with_nothing_to_do_one_lane_blocks_on_the_wake_list_and_a_token_sends_a_trip(stand: Stand) -> None:
    stand.serve()
    await stand.claim()
    await stand.blocked()
    await settled()
    assert stand.wire.blocks == [(stand.pump.keys["wake"], LONGEST_BLOCK)]
    assert stand.wire.sent.empty()
    assert stand.wire.token is not None
    stand.wire.token.set_result(False)
    assert (await stand.next())["n"] == 2


async def test_a_block_that_ends_in_silence_sends_no_trip(stand: Stand) -> None:
    stand.serve()
    await stand.claim()
    await stand.blocked()
    assert stand.wire.token is not None
    stand.wire.token.set_result(True)
    await settled()
    await stand.blocked()
    assert len(stand.wire.blocks) == 2 and stand.wire.sent.empty()


async def test_after_a_long_silence_the_queue_is_looked_at_all_the_same(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("redqueue.worker.pump.LOOK_EVERY", 0.0)
    stand.serve()
    await stand.claim()
    await stand.blocked()
    assert stand.wire.token is not None
    stand.wire.token.set_result(True)
    assert (await stand.next())["n"] == 2


async def test_looking_again_ends_the_block(stand: Stand) -> None:
    stand.serve()
    await stand.claim()
    await stand.blocked()
    stand.pump.dry.set()
    stand.pump.look_again()
    assert (await stand.next())["n"] == 2
    assert not stand.pump.dry.is_set()


async def test_jobs_that_are_left_behind_are_claimed_by_the_next_trip_unless_the_queue_is_paused(stand: Stand) -> None:
    stand.serve()
    await stand.claim(more=True)
    sent = await stand.next()
    await stand.give(sent, more=True, paused=True)
    await stand.blocked()
    await settled()
    assert stand.wire.sent.empty()


async def test_a_delayed_job_is_claimed_when_it_is_due_though_a_lane_blocks(stand: Stand) -> None:
    stand.serve()
    await stand.claim(next_due_ms=30)
    answered = monotonic()
    await stand.blocked()
    sent = await stand.next()
    assert monotonic() - answered >= 0.02
    assert sent["n"] == 2
    await stand.give(sent)
    await settled()
    assert stand.wire.sent.empty()


async def test_a_job_that_is_due_now_is_claimed_at_once(stand: Stand) -> None:
    stand.serve()
    await stand.claim(next_due_ms=0)
    assert (await stand.next())["n"] == 2


async def test_in_a_paused_queue_nothing_is_due(stand: Stand) -> None:
    stand.serve()
    await stand.claim(next_due_ms=0, paused=True)
    await stand.blocked()
    await settled()
    assert stand.wire.sent.empty()


async def test_a_lost_outcome_is_told_in_the_log_by_its_own_job(stand: Stand, caplog: pytest.LogCaptureFixture) -> None:
    stand.serve()
    first, second = job("first"), job("second", position=2)
    await stand.claim(first, second)
    stand.end(first)
    stand.end(second)
    sent = await stand.next()
    assert sent["settle_ids"] == ["first", "second"]
    await stand.give(sent, words="ol")
    assert [record.getMessage() for record in caplog.records] == [
        "job second: its lease was lost, so this run's outcome is not recorded"
    ]
    assert not stand.pump.held


async def test_outcomes_wait_for_the_trip_that_is_out_until_they_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("redqueue.worker.pump.FLUSH_AFTER", 3600.0)
    stand = Stand(limit=FLUSH_AT + 1)
    stand.serve()
    await stand.claim(*(job(str(n), position=n) for n in range(FLUSH_AT + 1)))
    first, *others = stand.started
    stand.pump.settle(first, Complete(b"1"), 1, RULES)  # its slot is not free yet, so no lane blocks
    assert (await stand.next())["settle_ids"] == ["0"]
    for run in others[:-1]:
        stand.pump.settle(run, Complete(b"1"), 1, RULES)
    await settled()
    assert stand.wire.sent.empty()
    stand.pump.settle(others[-1], Complete(b"1"), 1, RULES)
    assert len((await stand.next())["settle_ids"]) == FLUSH_AT
    await leave(stand)


async def test_few_outcomes_wait_no_longer_than_a_moment_for_the_trip_that_is_out(stand: Stand) -> None:
    stand.serve()
    await stand.claim(job("a"), job("b", position=2))
    first, second = stand.started
    stand.pump.settle(first, Complete(b"1"), 1, RULES)
    await stand.next()
    stand.pump.settle(second, Complete(b"1"), 1, RULES)
    assert (await stand.next())["settle_ids"] == ["b"]


async def test_what_did_not_run_is_given_back_uncounted(stand: Stand) -> None:
    run = job("a")
    stand.pump.release(run)
    stand.pump.stopping = True
    stand.serve()
    sent = await stand.next()
    assert (sent["settle_ids"], sent["settle_verdicts"], sent["settle_outcomes"], sent["n"]) == (
        *(["a"], ["l 0 - 0"], [""], 0),
    )


async def test_a_job_that_is_claimed_while_the_worker_stops_goes_back(stand: Stand) -> None:
    stand.serve()
    out = await stand.next()
    stand.pump.stop_claiming()
    await stand.claim()  # it tells what is not started: nothing
    assert not stand.pump.finished
    await stand.give(out, job("a"))
    sent = await stand.next()
    assert (stand.started, sent["settle_verdicts"], sent["n"]) == ([], ["l 0 - 0"], 0)
    await stand.give(sent, words="o")
    assert stand.serving is not None
    await asyncio.wait_for(stand.serving, 10)


async def test_what_is_prefetched_is_told_as_not_started_and_given_back_when_the_worker_stops() -> None:
    stand = Stand(limit=1, prefetch=2)
    stand.serve()
    first = await stand.next()
    assert first["n"] == 3
    await stand.give(first, *(job(id, position=n) for n, id in enumerate("abc", 1)))
    assert [run.id for run in stand.started] == ["a"] and [run.id for run in stand.pump.backlog] == ["b", "c"]
    stand.pump.look_again()
    sent = await stand.next()
    assert (sent["unstarted"], sent["n"]) == ("1:2-3", 0)
    await stand.give(sent)
    assert stand.pump.withdraw(stand.pump.backlog[0])
    assert not stand.pump.withdraw(stand.started[0])
    stand.pump.stop_claiming()
    assert (await stand.next())["settle_ids"] == ["c"]
    await leave(stand)


async def test_a_running_job_that_is_cancelled_is_told_to_stop(stand: Stand) -> None:
    stand.serve()
    await stand.claim(job("a"), job("b", position=2))
    stand.pump.stop_by_id("b")
    assert stand.stopped == [("b", "c")]


async def test_a_cancel_that_overtakes_the_answer_reaches_its_job_and_no_later_one_of_that_name(stand: Stand) -> None:
    stand.serve()
    out = await stand.next()
    stand.pump.stop_by_id("a")
    assert stand.stopped == []
    run = job("a")
    await stand.give(out, run)
    assert stand.stopped == [("a", "c")]
    for n in range(2, 5):
        stand.end(run)
        sent = await stand.next()
        run = job("a", n)
        await stand.give(sent, run, words="o")
    assert stand.stopped.count(("a", "c")) < 4, "it is forgotten when the trips of then are back"


async def test_a_cancel_waits_for_the_answers_of_all_trips_that_were_out(stand: Stand) -> None:
    stand.serve()
    first = await stand.next()
    stand.pump.look_again()
    second = await stand.next()
    stand.pump.stop_by_id("b")
    await stand.give(first, job("a"))
    assert stand.stopped == []
    await stand.give(second, job("b", 2))
    assert stand.stopped == [("b", "c")]


async def test_a_cancel_with_no_trip_out_is_nobodys(stand: Stand) -> None:
    stand.pump.stop_by_id("a")
    stand.serve()
    await stand.claim(job("a"))
    assert stand.stopped == []


async def test_a_lost_lease_is_held_no_more_and_its_reports_go_nowhere(stand: Stand) -> None:
    stand.serve()
    run = job("a")
    await stand.claim(run)
    receipt = stand.pump.desk.note(run, "l", b"x")
    stand.pump.drop(run)
    assert not stand.pump.held
    with pytest.raises(LeaseLost):
        await receipt


async def test_what_other_jobs_tell_is_not_lost_with_a_lease(stand: Stand) -> None:
    stand.serve()
    kept, lost = job("a"), job("b", position=2)
    await stand.claim(kept, lost)
    receipts = [stand.pump.desk.note(run, "l", b"x") for run in (kept, lost)]
    stand.pump.drop(lost)
    with pytest.raises(LeaseLost):
        await receipts[1]
    stand.pump.desk.hurry()
    await stand.give(await stand.next(), told="o")
    await receipts[0]


async def test_reports_leave_with_a_trip_and_their_receipts_are_answered_by_its_letters(stand: Stand) -> None:
    stand.serve()
    kept, lost = job("a"), job("b", position=2)
    await stand.claim(kept, lost)
    receipts = [stand.pump.desk.note(run, "l", run.id.encode()) for run in (kept, lost)]
    stand.pump.desk.hurry()
    sent = await stand.next()
    assert (sent["report_ids"], sent["report_kinds"], sent["report_texts"]) == (["a", "b"], ["l", "l"], [b"a", b"b"])
    await stand.give(sent, told="ol")
    await receipts[0]
    with pytest.raises(LeaseLost):
        await receipts[1]


async def test_an_outcome_waits_for_what_its_run_told_before_and_no_empty_trip_leaves_meanwhile(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("redqueue.worker.pump.FLUSH_AFTER", 0.0)
    stand.serve()
    run, other = job("a"), job("b", position=2)
    await stand.claim(run, other)
    stand.pump.desk.note(run, "l", b"x")
    stand.pump.desk.hurry()
    out = await stand.next()
    stand.pump.settle(run, Complete(b"1"), 1, RULES)
    await settled()
    assert stand.wire.sent.empty()
    await stand.give(out, told="o")
    assert (await stand.next())["settle_ids"] == ["a"]


async def test_a_trip_that_is_refused_ends_the_pump_and_its_reports_are_lost(stand: Stand) -> None:
    stand.serve()
    run = job("a")
    await stand.claim(run)
    receipt = stand.pump.desk.note(run, "l", b"x")
    stand.pump.desk.hurry()
    sent = await stand.next()
    sent.answer.set_exception(RedisRefused("no right"))
    assert stand.serving is not None
    with pytest.raises(ExceptionGroup) as caught:
        await asyncio.wait_for(stand.serving, 10)
    assert caught.group_contains(RedisRefused)
    with pytest.raises(LeaseLost):
        await receipt
    assert stand.slots.free(stand.pump) == 1, "what the trip had reserved is free again"


# A lease that may be over is renewed before its run


async def renewing(stand: Stand) -> tuple[Claimed, Sent]:
    run = job("a", fresh_until=-math.inf)
    stand.pump.held.add(run)
    stand.pump.start(run)
    sent = await stand.next()
    assert (sent.script, sent["session_id"], sent["ids"], sent["numbers"]) == ("renew", "s", ["a"], [1])
    assert stand.started == [] and stand.slots.running == 1
    return run, sent


async def test_a_lease_that_is_kept_lets_its_job_run(stand: Stand) -> None:
    before = monotonic()
    run, sent = await renewing(stand)
    sent.answer.set_result(Renewal("k", 15_000))
    await settled()
    assert stand.started == [run] and stand.slots.running == 1
    assert before + 10 <= run.fresh_until <= monotonic() + 10


@pytest.mark.parametrize(("word", "given_back"), [("l", []), ("c", ["a"])])
async def test_a_job_whose_lease_is_over_is_forgotten_and_a_cancelled_one_given_back(
    stand: Stand, word: str, given_back: list[str]
) -> None:
    run, sent = await renewing(stand)
    sent.answer.set_result(Renewal(word, 30_000))
    await settled()
    assert stand.started == [] and stand.slots.running == 0
    assert (run in stand.pump.held) is bool(given_back)
    stand.pump.stopping = True
    stand.serve()
    if given_back:
        assert (await stand.next())["settle_ids"] == given_back
    else:
        assert stand.serving is not None
        await asyncio.wait_for(stand.serving, 10)


async def test_a_job_that_is_renewed_while_the_worker_stops_does_not_run(stand: Stand) -> None:
    _, sent = await renewing(stand)
    stand.pump.stopping = True
    sent.answer.set_result(Renewal("k", 30_000))
    await settled()
    assert stand.started == [] and stand.slots.running == 0
    stand.serve()
    assert (await stand.next())["settle_verdicts"] == ["l 0 - 0"]


async def test_a_renewal_that_breaks_gives_its_job_and_its_slot_back_and_one_that_is_refused_the_slot(
    stand: Stand, caplog: pytest.LogCaptureFixture
) -> None:
    run, sent = await renewing(stand)
    sent.answer.set_exception(RedisRefused("no right"))
    await settled()
    assert stand.slots.running == 0 and stand.pump.held == {run} and not caplog.records
    stand.pump.held.clear()
    _, sent = await renewing(stand)
    sent.answer.set_exception(ValueError("a bug"))
    await settled()
    assert stand.slots.running == 0 and "job a" in caplog.text
    stand.pump.stopping = True
    stand.serve()
    assert (await stand.next())["settle_ids"] == ["a"]


async def test_the_end_cancels_a_renewal_and_nothing_is_sent_any_more(stand: Stand) -> None:
    _, sent = await renewing(stand)
    stand.serve()
    await stand.claim()
    stand.pump.end()
    await settled()
    assert sent.answer.cancelled() and stand.started == []
    stand.pump.look_again()
    await settled()
    assert stand.wire.sent.empty()


async def test_while_the_worker_stops_a_job_is_given_back_instead_of_started(stand: Stand) -> None:
    stand.pump.stopping = True
    stand.pump.start(job("a", fresh_until=math.inf))
    assert stand.started == [] and stand.slots.running == 0
    stand.serve()
    assert (await stand.next())["settle_ids"] == ["a"]


# A suspect


@pytest.mark.parametrize(("crashes", "alone"), [(0, False), (1, False), (2, True), (3, True)])
async def test_a_job_that_crashed_its_worker_almost_too_often_waits_until_it_can_run_alone(
    stand: Stand, crashes: int, alone: bool
) -> None:
    stand.pump.backlog.append(job("a", crashes=crashes, fresh_until=math.inf))
    stand.pump.start_next()
    assert bool(stand.slots.waiting(stand.pump)) is alone
    assert bool(stand.started) is not alone
    if alone:
        assert stand.pump.withdraw(stand.slots.waiting(stand.pump)[0])
        assert not stand.slots.waiting(stand.pump)
        stand.pump.end()  # which lets the announcement go
        await settled()


async def test_an_announcement_is_over_when_a_trip_that_left_after_it_is_back(stand: Stand) -> None:
    stand.serve()
    before = await stand.next()
    announced = asyncio.create_task(stand.pump.announce())
    after = await stand.next()
    await stand.give(before)
    assert not announced.done()
    await stand.give(after)
    await asyncio.wait_for(announced, 10)


# Time


async def test_the_clock_of_redis_goes_on_between_two_answers(stand: Stand) -> None:
    stand.serve()
    await stand.claim(now_ms=5_000_000)
    first = stand.pump.redis_now_ms()
    assert 5_000_000 <= first < 5_010_000
    assert stand.pump.redis_now_ms() >= first


async def test_a_second_is_a_thousand_of_its_milliseconds(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    stand.serve()
    monkeypatch.setattr("redqueue.worker.pump.monotonic", lambda: 100.0)
    await stand.claim(now_ms=5_000_000)
    monkeypatch.setattr("redqueue.worker.pump.monotonic", lambda: 102.0)
    assert stand.pump.redis_now_ms() == 5_002_000


async def test_jobs_that_wait_too_long_for_a_slot_go_back_and_nothing_is_prefetched_before_a_run_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("redqueue.worker.backlog.STALE_AFTER_S", 0.01)
    stand = Stand(limit=1, prefetch=2)
    stand.serve()
    await stand.claim(*(job(id, position=n) for n, id in enumerate("abc", 1)))
    sent = await stand.next()
    assert (sent["settle_ids"], sent["settle_verdicts"], sent["n"]) == (["b", "c"], ["l 0 - 0"] * 2, 0)
    await stand.give(sent, words="oo")
    assert [run.id for run in stand.pump.held] == ["a"]
    stand.pump.look_again()
    assert (await stand.next())["n"] == 0
    await leave(stand)


async def test_a_burst_is_dry_when_nothing_is_held_and_nothing_was_found() -> None:
    stand = Stand(burst=True)
    stand.serve()
    out = await stand.next()
    await settled()
    assert not stand.pump.dry.is_set()
    run = job("a")
    await stand.give(out, run)
    assert not stand.pump.dry.is_set()
    stand.end(run)
    await stand.claim(words="o")
    await asyncio.wait_for(stand.pump.dry.wait(), 10)
    assert stand.wire.blocks == []
    await leave(stand)


def test_no_report_is_a_report_of_nothing() -> None:
    assert (NO_REPORTS.runs, NO_REPORTS.kinds, NO_REPORTS.texts) == ((), (), ())
