"""What the heartbeat renews, when, and whom it tells: its thread's steps, one at a time, with answers given by hand."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from redis.exceptions import ConnectionError as Lost
from redis.exceptions import NoPermissionError, ReadOnlyError

from redqueue.core.keys import Keys
from redqueue.core.lease import MOST_A_CALL, Claimed
from redqueue.errors import RedisRefused
from redqueue.worker import heartbeat as module
from redqueue.worker.heartbeat import Heartbeat, answer_within

if TYPE_CHECKING:
    from collections.abc import Callable

LEASE_MS = 15_000
NOW = 1_000.0


class Wire:
    """Redis, as the heartbeat sees it: answers `words` for the first letters and "k" for the rest, or breaks."""

    target = "somewhere"

    def __init__(self) -> None:
        self.words = ""
        self.breaks: list[Exception | None] = []
        self.asked: list[list[str]] = []
        self.keys: list[list[str]] = []
        self.sessions: list[str] = []
        self.done: list[str] = []

    def send(self, call: Any) -> list[Any]:
        session, size, *rest = call.args
        self.sessions.append(session)
        self.keys.append(call.keys)
        self.asked.append([f"{id}:{number}" for id, number in zip(rest[:size], rest[size + 1 :], strict=True)])
        if self.breaks and (error := self.breaks.pop(0)) is not None:
            raise error
        return [self.words[:size].ljust(size, "k").encode(), LEASE_MS]

    def drop_idle(self) -> None:
        self.done.append("drop_idle")

    def reset(self) -> None:
        self.done.append("reset")

    def close(self) -> None:
        self.done.append("close")


class Told:
    """A heartbeat and all that it says, in order."""

    def __init__(self, *pumps: Any) -> None:
        self.wire = Wire()
        self.said: list[tuple[Any, ...]] = []
        self.ended = threading.Event()
        self.pumps = pumps
        self.heart = Heartbeat(
            self.wire,  # type: ignore[arg-type]
            "s",
            pumps,
            on_stop=lambda pump, run, word: self.said.append((pump.keys.queue, run.id, word)),
            on_down=lambda text: self.said.append(("down", text)),
            on_up=lambda: self.said.append(("up",)),
            on_refused=lambda error: self.said.append(("refused", type(error), str(error))),
            on_ended=self.ended.set,
        )

    def beat(self) -> list[tuple[Any, ...]]:
        """One beat; answers what it said."""
        self.said.clear()
        self.heart._beat()
        return list(self.said)


@dataclass(eq=False)
class Traffic:
    """What the heartbeat knows of a pump."""

    keys: Keys
    held: set[Claimed]
    lease_ms: int


def pump(queue: str = "q", *runs: Claimed, lease_ms: int = LEASE_MS) -> Any:
    return Traffic(keys=Keys(queue, "redqueue"), held=set(runs), lease_ms=lease_ms)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "monotonic", lambda: NOW)


@pytest.mark.parametrize(
    ("lease_ms", "seconds"), [(1_000, 0.2), (3_000, 0.2), (15_000, 1.0), (30_000, 2.0), (600_000, 2.0)]
)
def test_an_answer_is_awaited_for_a_fifteenth_of_a_lease_within_bounds(lease_ms: int, seconds: float) -> None:
    assert answer_within(lease_ms) == pytest.approx(seconds)


def test_a_kept_lease_is_fresh_for_two_thirds_of_its_length_from_the_question() -> None:
    run = Claimed("a", 7, 1, b"")
    told = Told(pump("q", run))
    assert told.beat() == []
    assert (told.wire.sessions, told.wire.asked) == (["s"], [["a:7"]])
    assert Keys("q", "redqueue").session("s") in told.wire.keys[0]
    assert run.fresh_until == NOW + LEASE_MS / 1500


@pytest.mark.parametrize("word", ["l", "c"])
def test_a_run_whose_lease_is_lost_or_whose_job_is_cancelled_is_told_and_not_made_fresh(word: str) -> None:
    run = Claimed("a", 7, 1, b"")
    told = Told(pump("q", run))
    told.wire.words = word
    assert told.beat() == [("q", "a", word)]
    assert run.fresh_until == 0.0


def test_each_queue_is_renewed_and_one_that_breaks_keeps_no_other_from_it() -> None:
    told = Told(pump("one", Claimed("a", 1, 1, b"")), pump("two", Claimed("b", 1, 1, b"")))
    told.wire.breaks = [Lost("gone")]
    (said,) = told.beat()
    assert (said[0], told.wire.asked) == ("down", [["a:1"], ["b:1"]])
    assert "somewhere" in said[1]


def test_an_error_of_our_own_is_logged_and_ends_no_beat(caplog: pytest.LogCaptureFixture) -> None:
    told = Told(pump("one", Claimed("a", 1, 1, b"")), pump("two", Claimed("b", 1, 1, b"")))
    told.wire.breaks = [ValueError("a bug")]
    with caplog.at_level(logging.ERROR, "redqueue.worker"):
        assert told.beat() == []
    assert "queue one" in caplog.text and told.wire.asked[1] == ["b:1"]


def test_an_idle_session_sends_a_call_of_no_lease() -> None:
    told = Told(pump("q"))
    told.beat()
    assert told.wire.asked == [[]]


def test_what_outran_its_time_is_not_renewed_any_more() -> None:
    over, just_over, in_time = (
        Claimed(id, 1, n, b"", renew_until=until) for n, (id, until) in enumerate([("a", 9.0), ("b", NOW), ("c", 1e9)])
    )
    told = Told(pump("q", over, just_over, in_time))
    told.beat()
    assert told.wire.asked == [["c:1"]]


def test_more_leases_than_a_call_takes_are_renewed_by_several_calls() -> None:
    runs = [Claimed(str(n), n, 1, b"") for n in range(2 * MOST_A_CALL + 1)]
    told = Told(pump("q", *runs))
    told.beat()
    assert [len(asked) for asked in told.wire.asked] == [MOST_A_CALL, MOST_A_CALL, 1]
    assert {one for asked in told.wire.asked for one in asked} == {f"{n}:{n}" for n in range(len(runs))}
    assert all(run.fresh_until > NOW for run in runs)


def test_an_outage_is_told_at_each_beat_and_its_end_once() -> None:
    told = Told(pump("q"))
    told.wire.breaks = [Lost("gone"), Lost("gone")]
    assert [said[0] for _ in range(4) for said in told.beat()] == ["down", "down", "up"]


def test_only_a_server_that_became_a_replica_is_looked_up_anew() -> None:
    told = Told(pump("q"))
    told.wire.breaks = [Lost("gone"), ReadOnlyError("You can't write against a read only replica.")]
    told.beat()
    assert "reset" not in told.wire.done
    told.beat()
    assert told.wire.done[-1] == "reset"


def test_while_redis_is_away_each_beat_drops_the_connections_first() -> None:
    told = Told(pump("q"))
    told.beat()
    assert told.wire.done == []
    told.heart.look()
    assert told.beat() == [("up",)]
    assert told.wire.done == ["drop_idle"]
    told.beat()
    assert told.wire.done == ["drop_idle"]


def test_a_reset_that_breaks_hides_no_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told(pump("q"))
    told.wire.breaks = [ReadOnlyError("You can't write against a read only replica.")]

    def broken() -> None:
        raise OSError("no name server")

    monkeypatch.setattr(told.wire, "reset", broken)
    assert [said[0] for said in told.beat()] == ["down"]


def test_a_refusal_is_told_as_one_and_not_as_an_outage() -> None:
    told = Told(pump("q"))
    told.wire.breaks = [NoPermissionError("this user has no permissions to run the 'evalsha' command")]
    ((word, kind, text),) = told.beat()
    assert (word, kind) == ("refused", RedisRefused)
    assert "somewhere" in text and "permissions" in text
    assert told.wire.done == []


def test_an_idle_session_rests_every_other_beat() -> None:
    heart = Told(pump("q")).heart
    assert [heart._rests(), heart._rests()] == [True, False]


def test_a_session_with_a_lease_in_any_queue_or_an_outage_never_rests() -> None:
    assert not Told(pump("one"), pump("two", Claimed("a", 1, 1, b""))).heart._rests()
    heart = Told(pump("q")).heart
    heart.look()
    assert not heart._rests()


def drawn(monkeypatch: pytest.MonkeyPatch, pick: Callable[[float, float], float]) -> None:
    monkeypatch.setattr("redqueue.worker.heartbeat.random.uniform", pick)


@pytest.mark.parametrize(("pick", "share"), [(min, 0.9), (max, 1.1)])
def test_the_next_beat_is_a_third_of_the_shortest_lease_away_give_or_take_a_tenth(
    monkeypatch: pytest.MonkeyPatch, pick: Callable[[float, float], float], share: float
) -> None:
    drawn(monkeypatch, pick)
    heart = Told(pump("one", lease_ms=60_000), pump("two")).heart
    assert heart._pause() == pytest.approx(LEASE_MS / 3000 * share)


@pytest.mark.parametrize(("pick", "share"), [(min, 0.5), (max, 1.0)])
@pytest.mark.parametrize(("lease_ms", "longest"), [(15_000, 1.0), (600_000, 2.0)])
def test_a_lost_connection_is_probed_for_within_a_fifteenth_of_a_lease_and_two_seconds(
    monkeypatch: pytest.MonkeyPatch,
    pick: Callable[[float, float], float],
    share: float,
    lease_ms: int,
    longest: float,
) -> None:
    drawn(monkeypatch, pick)
    heart = Told(pump("q", lease_ms=lease_ms)).heart
    heart.look()
    assert heart._pause() == pytest.approx(longest * share)


def test_who_asks_is_answered_at_once_and_the_end_closes_the_connection() -> None:
    sent = threading.Event()
    told = Told(pump("q", lease_ms=600_000))
    answer = told.wire.send

    def send(call: Any) -> list[Any]:
        sent.set()
        return answer(call)

    told.wire.send = send  # type: ignore[method-assign]
    told.heart.start()
    assert told.heart._thread.daemon and told.heart._thread.name == "redqueue-heartbeat"
    for ask in (told.heart.ask, told.heart.look):
        sent.clear()
        ask()
        assert sent.wait(10)
    told.heart.end()
    assert told.ended.wait(10)
    told.heart._thread.join(10)
    assert told.wire.done[-1] == "close"


def test_nothing_is_renewed_after_the_end() -> None:
    told = Told(pump("q"))
    told.heart.end()
    told.heart._serve()
    assert told.wire.asked == [] and told.ended.is_set()


def test_a_beat_that_is_not_asked_for_comes_by_itself_and_starts_the_rest_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of eight pauses that pass in silence every other one ends in a renewal of the idle session."""
    told = Told(pump("q"))
    beats: list[int] = []

    def wait(seconds: float) -> bool:
        beats.append(len(told.wire.asked))
        if len(beats) > 8:
            told.heart.end()
        return False

    monkeypatch.setattr(told.heart._wake, "wait", wait)
    told.heart._serve()
    assert beats == [0, 0, 1, 1, 2, 2, 3, 3, 4]
