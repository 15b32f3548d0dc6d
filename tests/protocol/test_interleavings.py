"""Two workers and one job: every order in which they can claim, settle, renew, recover and cancel, on the model.

Each order is one that Redis could carry the calls out in, so no luck is needed to find a bad one. Orders that lead to
the same state go on together. The server is asked to follow some of them, and has to agree.
"""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import pytest
from tests.protocol.driver import ERROR, LEASE, START, Wire, job
from tests.protocol.view import differences, expected, stored

from redqueue.core import lease, steer
from redqueue.core.add import add
from redqueue.core.keys import Keys
from redqueue.core.lease import Claimed, ListRule, Settles, Trip
from redqueue.core.lifecycle import Complete, Release, RetryIn, RunRules, Settlement, words_of
from redqueue.testing.model import Model

DEPTH: Final = 6
FOLLOWED: Final = 97
"""Of so many orders the server follows one."""

KEYS: Final = Keys("q", "redqueue")
RULES: Final = RunRules(retries=9, backoff=0)
MAX_CRASHES: Final = 3
WAITS: Final = {"third": LEASE // 3, "lease": LEASE + 1}
"""Of a lease; and more than one."""
SETTLEMENTS: Final[dict[str, Settlement]] = {"done": Complete(b"1"), "again": RetryIn(0, ERROR), "back": Release("cut")}


@dataclass
class Worker:
    """What a session knows."""

    name: str
    number: int = 0
    runs: list[Claimed] = field(default_factory=list)
    sent: dict[str, Any] | None = None


@dataclass
class World:
    """The queue, and who works on it."""

    model: Model
    workers: tuple[Worker, Worker]
    path: tuple[str, ...] = ()
    recorded: int = 0
    newest: int = 0
    numbers: int = 1

    def state(self) -> Any:
        """What decides how it can go on; times count from now, and fences by their order."""
        now = self.model.now
        view = expected(self.model)
        return msgspec.json.encode(
            [str(view).replace(str(now), "now"), [(worker.number, len(worker.runs)) for worker in self.workers]]
        )


def start() -> World:
    model = Model(START)
    made = job(START, "j")
    for worker in "ab":
        model.enter(worker, f"host:{worker}", LEASE)
    model.numbered("p:0", 1, lambda: model.add([(made.id, made.envelope, made.place)]))
    model.recover(MAX_CRASHES, "")
    return World(model, (Worker("a"), Worker("b")))


def pump(world: World, who: int, n: int, settlement: tuple[Claimed, Settlement] | None) -> dict[str, Any]:
    """What the worker sends next."""
    worker = world.workers[who]
    worker.number += 1
    settles = Settles([], [], [])
    if settlement is not None:
        run, what = settlement
        settles.add(run, *words_of(what, attempt=run.failed + 1, rules=RULES))
    worker.sent = {"session": worker.name, "worker": f"host:{worker.name}", "lane": "0", "number": worker.number}
    worker.sent |= {"settles": settles, "n": n, "unstarted": (), "rule": ListRule()}
    return worker.sent


# Each step of a world is a name, and does the same to the model and, where there is one, to the server.


def moves(world: World) -> Iterator[str]:
    """What can happen next."""
    for who, worker in enumerate(world.workers):
        if len(worker.runs) < 2:
            yield f"claim {who}"
        for how in SETTLEMENTS if worker.runs else ():
            yield f"settle {who} {how}"
        if worker.runs:
            yield f"renew {who}"
        if worker.sent is not None:
            yield f"resend {who}"
    yield "recover"
    if not any(move == "cancel" for move in world.path):
        yield "cancel"
    if sum(move.startswith("wait") for move in world.path) < 3:
        yield from (f"wait {how}" for how in WAITS)


def make(world: World, move: str, wire: Wire | None = None) -> None:
    """Let it happen, and check what no order may break."""
    kind, *words = move.split(" ", 2)
    MOVES[kind](world, wire, *words)
    world.path += (move,)


def claim(world: World, wire: Wire | None, who: str) -> None:
    before = world.model.jobs.get("j")
    held = before is not None and before.state == "active"
    trip = both(world, wire, pump(world, int(who), 1, None))
    for run in trip.claimed:
        assert not held, "it was claimed while another held it"
        assert run.fence > world.newest, "its fence did not grow"
        world.newest = run.fence
        world.workers[int(who)].runs.append(run)


def settle(world: World, wire: Wire | None, who: str, how: str) -> None:
    run = world.workers[int(who)].runs[-1]
    word = both(world, wire, pump(world, int(who), 0, (run, SETTLEMENTS[how]))).words
    if word != "l":
        assert run.fence == world.newest, "a run was settled that another claim had followed"
        assert not world.recorded, "an outcome was recorded a second time"
    if (word == "o" and how == "done") or word == "x":
        world.recorded += 1


def renew(world: World, wire: Wire | None, who: str) -> None:
    worker = world.workers[int(who)]
    answer = world.model.renew(worker.name, worker.runs)
    if wire is not None:
        assert wire(lease.renew(KEYS, worker.name, worker.runs)) == answer
    assert answer.words.count("l") >= len(worker.runs) - 1, "two runs of one job have leases"


def resend(world: World, wire: Wire | None, who: str) -> None:
    """The answer was lost: the same bytes again."""
    sent = world.workers[int(who)].sent
    assert sent is not None
    before = expected(world.model)
    both(world, wire, sent)
    assert expected(world.model) == before, "a resend changed something"


def recover(world: World, wire: Wire | None) -> None:
    live = world.model.jobs.get("j")
    alive = live is not None and live.state == "active" and live.score > world.model.now
    call = lease.recover(KEYS, MAX_CRASHES)
    error = call.args[len(call.script.header.families) + call.script.header.args.index(("error", "text"))]
    answer = world.model.recover(MAX_CRASHES, error.decode())
    assert not (alive and answer.count), "a job was taken back whose lease lives"
    if wire is not None:
        assert wire(call) == answer


def cancel(world: World, wire: Wire | None) -> None:
    world.numbers += 1
    answer = world.model.numbered("p:0", world.numbers, lambda: world.model.cancel("j", "why"))
    if wire is not None:
        call = steer.cancel(KEYS, "j", "why").on(KEYS.producer("p:0"), world.numbers)
        assert wire.send(call)[0].decode().split(" ")[0] == answer
    world.recorded += answer == "cancelled"


def wait(world: World, wire: Wire | None, how: str) -> None:
    world.model.now += WAITS[how]
    if wire is not None:
        wire.set_clock(world.model.now)


MOVES: Final[dict[str, Callable[..., None]]] = {
    move.__name__: move for move in (claim, settle, renew, resend, recover, cancel, wait)
}


def both(world: World, wire: Wire | None, sent: dict[str, Any]) -> Trip:
    answer = world.model.pump(**sent)
    if wire is not None:
        theirs = wire(lease.pump(KEYS, **sent))
        assert facts(theirs) == facts(answer)
    return answer


def facts(trip: Trip) -> Any:
    return msgspec.structs.replace(trip, claimed=[msgspec.structs.asdict(run) for run in trip.claimed])


def check(world: World) -> None:
    """Wherever it stands: the job is somewhere, and in one place."""
    found = world.model.jobs.get("j")
    assert found is not None, "the job is lost"
    over = found.state in ("completed", "failed", "cancelled")
    assert world.recorded <= 1
    assert bool(world.recorded) <= over, "it goes on after its outcome was recorded"


@pytest.fixture(scope="module")
def orders() -> list[tuple[str, ...]]:
    """The first order that leads to each state."""
    found: list[tuple[str, ...]] = []
    seen = set[Any]()
    ahead = deque([start()])
    while ahead:
        world = ahead.popleft()
        frozen = pickle.dumps(world)
        for move in moves(world):
            after: World = pickle.loads(frozen)
            make(after, move)
            check(after)
            state = after.state()
            if state in seen:
                continue
            seen.add(state)
            found.append(after.path)
            if len(after.path) < DEPTH:
                ahead.append(after)
    return found


def test_no_order_breaks_a_promise(orders: list[tuple[str, ...]]) -> None:
    """`orders` checks each of them; here it is checked that they were many. A resend leads to no new state."""
    assert len(orders) > 7_000
    assert {move.split(" ")[0] for order in orders for move in order} == {*MOVES} - {"resend"}


def test_the_server_agrees(orders: list[tuple[str, ...]], wire: Wire) -> None:
    longest = [order for order in orders if len(order) == DEPTH]
    for order in longest[::FOLLOWED]:
        wire.client.flushall()
        wire.set_clock(START)
        world = start()
        follow(wire, world)
        for move in order:
            make(world, move, wire)
        assert differences(stored(wire), expected(world.model)) == [], order


def follow(wire: Wire, world: World) -> None:
    """Bring the server to where the model begins."""
    for worker in world.workers:
        wire(lease.enter(KEYS, worker.name, f"host:{worker.name}", "host", 7, LEASE))
    wire(add(KEYS, [job(START, "j")]).on(KEYS.producer("p:0"), 1))
    wire(lease.recover(KEYS, MAX_CRASHES))
