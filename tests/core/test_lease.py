"""A worker's calls as values: what is sent, and how the answers are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from redqueue.core import lease
from redqueue.core.codec import FORMAT
from redqueue.core.keys import Keys
from redqueue.core.lease import MOST_BYTES, Claimed, ErrorFacts, ListRule, Reports, Settles
from redqueue.errors import RedisRefused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redqueue.core.script import Call

KEYS = Keys("q", "redqueue")
RUNS = [Claimed("a", 7, 1, b"A"), Claimed("b", 7, 2, b"B"), Claimed("c", 9, 1, b"C")]


def sent(call: Call[Any]) -> dict[str, Any]:
    """What a call sends, by the names of its script's contract."""
    header = call.script.header
    args = list(call.args[len(header.families) :])
    told = {name: args.pop(0) for name, _ in header.args}
    for name in header.lists:
        size = args.pop(0)
        told[name], args = args[:size], args[size:]
    assert args == []
    told.update({name: key for name, key in zip(header.keys, call.keys, strict=False) if name == "session"})
    return told


def answer(call: Call[Any], **fields: Any) -> Any:
    """What a call reads from an answer of these fields."""
    return call.read([fields[name] for name in call.script.header.reply])


# Outcomes on their way


def settles_of(*sizes: int) -> Settles:
    made = Settles([], [], [])
    for n, size in enumerate(sizes):
        made.add(Claimed(str(n), n, 1, b""), f"c {n}", bytes(size))
    return made


def rows(settles: Settles) -> list[tuple[str, str, int]]:
    """Id, verdict and bytes of each; and the sum is known."""
    found = [
        (run.id, verdict, len(outcome))
        for run, verdict, outcome in zip(settles.runs, settles.verdicts, settles.outcomes, strict=True)
    ]
    assert settles.size == sum(size for _, _, size in found)
    assert len(settles) == len(found)
    return found


def row(n: int, size: int) -> tuple[str, str, int]:
    return str(n), f"c {n}", size


def test_the_first_outcomes_are_taken_and_the_others_stay_in_order() -> None:
    settles = settles_of(1, 2, 3)
    assert rows(settles.take(2)) == [row(0, 1), row(1, 2)]
    assert rows(settles) == [row(2, 3)]
    assert rows(settles.take(2)) == [row(2, 3)]
    assert rows(settles) == []
    assert rows(settles.take(2)) == []


def test_exactly_so_many_are_all_of_them() -> None:
    settles = settles_of(1, 2)
    assert rows(settles.take(2)) == [row(0, 1), row(1, 2)]
    assert rows(settles) == []


@pytest.mark.parametrize(
    ("sizes", "taken"),
    [
        ([MOST_BYTES // 2] * 2, 2),
        ([MOST_BYTES // 2, MOST_BYTES // 2, 1], 2),
        ([MOST_BYTES // 2, MOST_BYTES // 2 + 1], 1),
        ([MOST_BYTES + 1, 1], 1),
        ([1, MOST_BYTES, 1], 1),
    ],
)
def test_at_least_one_and_otherwise_4_mib_are_taken(sizes: list[int], taken: int) -> None:
    settles = settles_of(*sizes)
    expected = [row(n, size) for n, size in enumerate(sizes)]
    assert rows(settles.take(9)) == expected[:taken]
    assert rows(settles) == expected[taken:]


def test_what_is_held_back_stays_with_its_outcome_and_the_others_keep_their_order() -> None:
    settles = settles_of(1, 2, 3, 4, 5)
    held = {settles.runs[1], settles.runs[3]}
    assert rows(settles.take(2, held)) == [row(0, 1), row(2, 3)]
    assert rows(settles) == [row(1, 2), row(3, 4), row(4, 5)]
    assert rows(settles.take(2, held)) == [row(4, 5)]
    assert rows(settles.take(2, held)) == []
    assert rows(settles.take(2)) == [row(1, 2), row(3, 4)]


def test_who_is_held_back_and_has_no_outcome_yet_holds_up_nobody() -> None:
    settles = settles_of(1, 2)
    assert rows(settles.take(9, {Claimed("other", 1, 1, b"")})) == [row(0, 1), row(1, 2)]


def test_what_is_taken_is_a_list_of_its_own() -> None:
    settles = settles_of(1)
    taken = settles.take(9)
    settles.add(Claimed("x", 1, 1, b""), "c", b"")
    assert rows(taken) == [row(0, 1)]
    assert rows(Settles()) == []


# Enter


def test_entering_says_who_works_where_and_how_long_its_leases_shall_be() -> None:
    call = lease.enter(KEYS, "s", "host:1", "host", 42, 30_000)
    assert sent(call) == {
        "session": KEYS.session("s"),
        "session_id": "s",
        "worker": "host:1",
        "host": "host",
        "pid": "42",
        "wanted": 30_000,
        "format": FORMAT,
    }


def test_the_lease_length_of_those_at_work_is_taken() -> None:
    assert answer(lease.enter(KEYS, "s", "w", "h", 1, 30_000), state=b"ok", lease=b"45000") == 45_000


def test_another_format_is_refused_and_the_queue_named() -> None:
    with pytest.raises(RedisRefused, match=rf"^queue q is stored in another format .* \({FORMAT}\): upgrade redqueue"):
        answer(lease.enter(KEYS, "s", "w", "h", 1, 30_000), state=b"other", lease=b"30000")


# Pump


def pump(
    settles: Settles | None = None, unstarted: Sequence[Claimed] = (), reports: Reports | None = None
) -> Call[lease.Trip]:
    rule = ListRule((11, 12), (13, 14))
    told = () if reports is None else (reports,)
    return lease.pump(KEYS, "s", "host:1", "1", 5, settles or Settles(), 8, unstarted, rule, *told)


def test_a_trip_carries_what_is_told_what_ended_and_what_has_not_begun() -> None:
    settles = Settles()
    settles.add(RUNS[0], "c 0 - 1", b"1")
    settles.add(RUNS[2], "f 0 - 1", b"{}")
    reports = Reports(RUNS[:2], ("p", "l"), (b"half", b"line"))
    told = sent(pump(settles, RUNS, reports))
    assert told == {
        "session": KEYS.session("s"),
        "session_id": "s",
        "worker": "host:1",
        "lane": "1",
        "number": 5,
        "n": 8,
        "unstarted": "7:1-2 9:1-1",
        "completed_count": 11,
        "completed_age": 12,
        "failed_count": 13,
        "failed_age": 14,
        "report_ids": ["a", "b"],
        "report_numbers": [7, 7],
        "report_kinds": ["p", "l"],
        "report_texts": [b"half", b"line"],
        "settle_ids": ["a", "c"],
        "settle_numbers": [7, 9],
        "settle_verdicts": ["c 0 - 1", "f 0 - 1"],
        "settle_outcomes": [b"1", b"{}"],
    }


@pytest.mark.parametrize(
    ("positions", "spans"),
    [
        ([], ""),
        ([(7, 1)], "7:1-1"),
        ([(7, 4), (7, 5), (7, 6)], "7:4-6"),
        ([(7, 1), (7, 3)], "7:1-1 7:3-3"),
        ([(7, 1), (7, 2), (8, 3), (8, 4)], "7:1-2 8:3-4"),
        ([(7, 2), (7, 1)], "7:2-2 7:1-1"),
    ],
)
def test_neighbours_that_have_not_begun_are_told_as_one_span(positions: list[tuple[int, int]], spans: str) -> None:
    unstarted = [Claimed("x", number, position, b"") for number, position in positions]
    assert sent(pump(unstarted=unstarted))["unstarted"] == spans


PLAIN: dict[str, Any] = {
    "state": b"ok",
    "words": b"ox",
    "told": b"ol",
    "ids": [],
    "envelopes": [],
    "tried": [],
    "noted": [],
    "saved": [],
    "fence": 70,
    "now": 1000,
    "lease": 30_000,
    "next_due": 250,
    "more": 0,
    "paused": 0,
}


def trip(**fields: Any) -> lease.Trip:
    read: lease.Trip = answer(pump(), **{**PLAIN, **fields})
    return read


def test_the_answer_of_a_trip_is_read_by_its_names() -> None:
    read = trip()
    assert (read.stale, read.words, read.told, read.claimed) == (False, "ox", "ol", [])
    assert (read.now_ms, read.lease_ms, read.next_due_ms) == (1000, 30_000, 250)
    assert (read.more, read.paused) == (False, False)
    assert trip(state=b"stale").stale
    assert trip(more=1).more and not trip(more=1).paused
    assert trip(paused=1).paused and not trip(paused=1).more


def facts_of(run: Claimed) -> tuple[Any, ...]:
    return (run.id, run.number, run.position, run.envelope, run.failed, run.crashes, run.note, run.noted_ms, run.saved)


def test_each_claimed_job_has_its_place_its_envelope_and_the_fence_of_the_claim() -> None:
    first, second = trip(ids=[b"a", b"b"], envelopes=[b"A", b"B"]).claimed
    assert facts_of(first) == ("a", 5, 1, b"A", 0, 0, "", 0, None)
    assert facts_of(second) == ("b", 5, 2, b"B", 0, 0, "", 0, None)
    assert (first.fence, second.fence) == (70, 70)


def test_what_was_counted_noted_and_saved_before_belongs_to_its_job() -> None:
    first, second, third = trip(
        ids=[b"a", b"b", b"c"],
        envelopes=[b"A", b"B", b"C"],
        tried=[None, b"2 1 5", None],
        noted=[b"123 its worker died", None, b"7 "],
        saved=[None, None, b"[1]"],
    ).claimed
    assert facts_of(first)[4:] == (0, 0, "its worker died", 123, None)
    assert facts_of(second)[4:] == (2, 1, "", 0, None)
    assert facts_of(third)[4:] == (0, 0, "", 7, b"[1]")


@pytest.mark.parametrize(
    ("tried", "counts"),
    [
        (b"3", (3, 0)),
        (b"3 2", (3, 2)),
        (b"", (0, 0)),
        (b"x 2", (0, 2)),
        (b" 2", (0, 2)),
        (b"2 -1", (2, 0)),
        (b"\xff 1", (0, 1)),
        (b"9" * 15 + b" 1", (10**15 - 1, 1)),
        (b"1 " + b"9" * 16, (1, 0)),
    ],
)
def test_counts_that_somebody_else_wrote_are_none(tried: bytes, counts: tuple[int, int]) -> None:
    (run,) = trip(ids=[b"a"], envelopes=[b"A"], tried=[tried]).claimed
    assert (run.failed, run.crashes) == counts


@pytest.mark.parametrize(
    ("noted", "read"),
    [(b"12 late \xff", (12, "late \\xff")), (b"soon it was", (0, "it was")), (b"12", (12, "")), (b"-1 x", (0, "x"))],
)
def test_a_note_that_somebody_else_wrote_keeps_nobody_from_the_job(noted: bytes, read: tuple[int, str]) -> None:
    (run,) = trip(ids=[b"\xff"], envelopes=[b"A"], noted=[noted]).claimed
    assert (run.noted_ms, run.note, run.id) == (*read, "\\xff")


def test_gaps_in_an_answer_that_comes_again_are_left_out_and_move_nobody() -> None:
    claimed = trip(
        ids=[b"a", b"", b"c"], envelopes=[b"A", None, b"C"], tried=[b"1 0", None, b"2 0"], saved=[None, None, b"[1]"]
    ).claimed
    assert [facts_of(run)[:5] for run in claimed] == [("a", 5, 1, b"A", 1), ("c", 5, 3, b"C", 2)]
    assert [run.saved for run in claimed] == [None, b"[1]"]


# Renew, recover, leave, expire


def test_a_renewal_names_its_runs_by_their_tokens() -> None:
    call = lease.renew(KEYS, "s", RUNS)
    assert sent(call) == {
        "session": KEYS.session("s"),
        "session_id": "s",
        "ids": ["a", "b", "c"],
        "numbers": [7, 7, 9],
    }
    renewal = answer(call, words=b"kcl", lease=30_000)
    assert (renewal.words, renewal.lease_ms) == ("kcl", 30_000)


def test_a_recovery_brings_the_error_for_those_that_crashed_too_often() -> None:
    call = lease.recover(KEYS, 4)
    told = sent(call)
    assert told["max_crashes"] == 4
    error = msgspec.json.decode(told["error"], type=ErrorFacts)
    assert error == ErrorFacts("WorkerCrashed", "its worker died while it ran, 4 times: it is not run again")
    recovery = answer(call, count=3, hold=500, crashed=[b"a", b"\xff"])
    assert (recovery.count, recovery.hold_ms, recovery.crashed) == (3, 500, ["a", "\\xff"])


def test_leaving_gives_back_what_is_held_by_its_tokens() -> None:
    call = lease.leave(KEYS, "s", ("0", "1"), RUNS)
    assert sent(call) == {
        "session": KEYS.session("s"),
        "session_id": "s",
        "lanes": ["0", "1"],
        "held_ids": ["a", "b", "c"],
        "held_numbers": [7, 7, 9],
    }
    assert answer(call, released=3) == 3


def test_an_expiry_goes_page_by_page() -> None:
    call = lease.expire(KEYS, "s", ("0", "1"), "17")
    assert sent(call) == {
        "session": KEYS.session("s"),
        "session_id": "s",
        "cursor": "17",
        "lanes": ["0", "1"],
    }
    assert answer(call, cursor=b"23", expired=2) == ("23", 2)


def test_a_dead_workers_jobs_are_counted_over_all_pages_and_taken_back_as_long_as_a_call_is_full() -> None:
    steps = lease.expire_session(KEYS, "s", ("0", "1"), 4)
    pages = [next(steps), *map(steps.send, (("5", 2), ("9", 3)))]
    full = [lease.Recovery(lease.MOST_RECOVERED + more, 0, []) for more in (0, 1)]
    scans = list(map(steps.send, (("0", 4), *full)))
    with pytest.raises(StopIteration) as stop:
        steps.send(lease.Recovery(lease.MOST_RECOVERED - 1, 0, []))
    assert stop.value.value == 9
    assert [sent(page)["cursor"] for page in pages] == ["0", "5", "9"]
    assert all((sent(page)["session_id"], sent(page)["lanes"]) == ("s", ["0", "1"]) for page in pages)
    assert [sent(scan)["max_crashes"] for scan in scans] == [4, 4, 4]


def test_a_session_on_one_page_takes_two_calls() -> None:
    steps = lease.expire_session(KEYS, "s", ("0",), 3)
    assert sent(next(steps))["cursor"] == "0"
    assert "max_crashes" in sent(steps.send(("0", 1)))
    with pytest.raises(StopIteration) as stop:
        steps.send(lease.Recovery(1, 0, []))
    assert stop.value.value == 1


def test_no_call_is_of_another_queue() -> None:
    for call in (pump(), lease.renew(KEYS, "s", []), lease.recover(KEYS, 3), lease.leave(KEYS, "s", (), [])):
        assert all(key.startswith("redqueue:{q}:") for key in call.keys)
