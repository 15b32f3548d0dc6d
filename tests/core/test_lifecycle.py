"""The table of legal moves, and that the server keeps to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import pytest

from redqueue.backoff import Exponential
from redqueue.core import steer
from redqueue.core.lease import Claimed, Settles, recover
from redqueue.core.lifecycle import (
    INTERRUPTED,
    TRANSITIONS,
    Complete,
    Crash,
    Died,
    Fail,
    Interrupted,
    Move,
    Raised,
    Release,
    RetryIn,
    Returned,
    RunRules,
    Snoozed,
    SnoozeFor,
    decide,
    words_of,
)
from redqueue.errors import InvalidOption
from redqueue.options import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.core.conftest import World

    from redqueue.core.lifecycle import Outcome, Settlement

RULES = RunRules(retries=3, backoff=Exponential(first=1, cap=600, jitter=0))
STATES: tuple[State, ...] = get_args(State)


# The verdict


@pytest.mark.parametrize(
    ("outcome", "attempt", "settlement"),
    [
        (Returned(b"1"), 1, Complete(b"1")),
        (Returned(b"1"), 99, Complete(b"1")),
        (Raised(b"e"), 1, RetryIn(1000, b"e")),
        (Raised(b"e"), 3, RetryIn(4000, b"e")),
        (Raised(b"e"), 4, Fail(b"e")),
        (Raised(b"e", final=True), 1, Fail(b"e")),
        (Raised(b"e", after_ms=7), 1, RetryIn(7, b"e")),
        (Raised(b"e", after_ms=0), 3, RetryIn(0, b"e")),
        (Raised(b"e", after_ms=7), 4, Fail(b"e")),
        (Snoozed(5, "busy"), 99, SnoozeFor(5, "busy")),
        (Interrupted(), 99, Release(INTERRUPTED)),
        (Died(b"e", last=False), 99, Crash()),
        (Died(b"e", last=True), 1, Fail(b"e")),
    ],
)
def test_what_becomes_of_a_run(outcome: Outcome, attempt: int, settlement: Settlement) -> None:
    assert decide(outcome, attempt=attempt, rules=RULES, draw=0.5) == settlement


def test_without_retries_the_first_failure_is_the_last() -> None:
    assert decide(Raised(b"e"), attempt=1, rules=RunRules(retries=0, backoff=1), draw=0) == Fail(b"e")


def test_chance_is_given() -> None:
    rules = RunRules(retries=3, backoff=Exponential(first=10, cap=600, jitter=1))
    assert decide(Raised(b"e"), attempt=1, rules=rules, draw=0.25) == RetryIn(7500, b"e")


def test_a_backoff_that_answers_nonsense_is_named() -> None:
    class Nonsense:
        def delay(self, attempt: int) -> Any:
            return "soon"

    with pytest.raises(InvalidOption, match=r"backoff\.delay\(2\)"):
        decide(Raised(b"e"), attempt=2, rules=RunRules(retries=3, backoff=Nonsense()), draw=0)


@pytest.mark.parametrize(
    ("settlement", "words"),
    [
        (Complete(b"1"), ("c 0 60000 2", b"1")),
        (Fail(b"e"), ("f 0 0 2", b"e")),
        (RetryIn(5, b"e"), ("r 5 - 2", b"e")),
        (SnoozeFor(5, "busy"), ("s 5 - 2", "busy")),
        (Release(), ("l 0 - 2", "")),
        (Release("interrupted"), ("l 0 - 2", "interrupted")),
        (Crash(), ("k 0 - 2", "")),
    ],
)
def test_a_settlement_in_words(settlement: Settlement, words: tuple[str, Any]) -> None:
    rules = RunRules(retries=3, backoff=1, keep_completed="60000", keep_failed="0")
    assert words_of(settlement, attempt=2, rules=rules) == words


# The table


def test_each_move_but_add_is_in_the_table() -> None:
    assert {move for _, move in TRANSITIONS} == set(Move) - {Move.ADD}


def test_each_state_can_be_reached_and_left() -> None:
    assert {state for state, _ in TRANSITIONS} == set(STATES)
    assert set(TRANSITIONS.values()) | {"delayed", "waiting"} == set(STATES)


def settling(settlement: Settlement) -> Callable[[World, Claimed], Any]:
    return lambda world, run: world.settle(run, settlement)


def recovering(max_crashes: int) -> Callable[[World, Claimed], Any]:
    def move(world: World, run: Claimed) -> None:
        world.client.zadd(world.keys["active"], {"a": 0}, xx=True)
        world(recover(world.keys, max_crashes))

    return move


def come_due(world: World, run: Claimed) -> None:
    world.client.zadd(world.keys["delayed"], {"a": 1}, xx=True)
    world.pump(Settles(), 0)


def ask(world: World, run: Claimed) -> None:
    """Ask for the cancel of a running job; that it waits for the run's outcome is tested with cancel."""
    if world(steer.cancel(world.keys, "a")) == "requested":
        world.client.hdel(world.keys["cancels"], "a")


def expire(world: World, run: Claimed) -> None:
    """The time in which it must be started is over; what runs or has run isn't touched by that."""
    world.client.hset(world.keys["expires"], "a", 1)
    if world.places("a") == ["waiting"]:
        world.claim()
    else:
        world.client.hdel(world.keys["expires"], "a")


MOVES: dict[Move, Callable[[World, Claimed], Any]] = {
    Move.ADD: lambda world, run: world.add("a"),
    Move.DUE: come_due,
    Move.CLAIM: lambda world, run: world.claim(),
    Move.COMPLETE: settling(Complete(b"1")),
    Move.FAIL: settling(Fail(b"{}")),
    Move.RETRY: settling(RetryIn(60_000, b"{}")),
    Move.RETRY_NOW: settling(RetryIn(0, b"{}")),
    Move.SNOOZE: settling(SnoozeFor(60_000, "")),
    Move.RELEASE: settling(Release()),
    Move.CRASH: settling(Crash()),
    Move.EXPIRE: expire,
    Move.RECOVER: recovering(3),
    Move.CRASH_TOO_OFTEN: recovering(1),
    Move.CANCEL: ask,
    Move.PROMOTE: lambda world, run: world(steer.promote(world.keys, "a")),
    Move.RETRY_BY_HAND: lambda world, run: world(steer.retry(world.keys, "a")),
}


def bring(world: World, state: State) -> Claimed:
    """Bring job a into a state; answers its last run, with the token of that."""
    world.add("a", priority=2)
    (run,) = world.claim()
    if state == "active":
        return run
    if state == "cancelled":
        world(steer.cancel(world.keys, "a"))
    way: dict[State, Settlement] = {
        "waiting": Release(),
        "delayed": SnoozeFor(60_000, ""),
        "completed": Complete(b"1"),
        "failed": Fail(b"{}"),
        "cancelled": Release(),
    }
    world.settle(run, way[state])
    return run


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("move", list(Move))
def test_the_server_makes_the_moves_of_the_table_and_no_other(world: World, state: State, move: Move) -> None:
    run = bring(world, state)
    assert world.places("a") == [state]
    MOVES[move](world, run)
    assert world.places("a") == [TRANSITIONS.get((state, move), state)]


@pytest.mark.parametrize("move", list(Move))
def test_a_job_that_was_never_added_is_moved_by_add_only(world: World, move: Move) -> None:
    MOVES[move](world, Claimed("a", 1, 1, b""))
    assert world.places("a") == (["waiting"] if move is Move.ADD else [])
