"""A queue on a genuine server and on fakeredis, driven call by call, and audited after each test."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import fakeredis
import pytest
import redis
from redis.exceptions import NoScriptError

from redqueue.core import lease
from redqueue.core.add import add_many, prepare
from redqueue.core.audit import audit
from redqueue.core.events import happenings
from redqueue.core.keys import Keys
from redqueue.core.lifecycle import Complete, Fail, Release, RetryIn, RunRules, Settlement, SnoozeFor, words_of
from redqueue.core.steer import cancel
from redqueue.embedded import PrivateServer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from redqueue.core.report import Kind
    from redqueue.core.script import Call, Steps
    from redqueue.options import AddAnswer

R = TypeVar("R")
Told: TypeAlias = "tuple[lease.Claimed, Kind, bytes]"

ERROR = b'{"type":"ValueError","message":"no such number","traceback":"Traceback ..."}'


class World:
    """One queue, one producer lane and any number of sessions, each with one lane."""

    def __init__(self, client: Any, keys: Keys) -> None:
        self.client = client
        self.keys = keys
        self.broken = False
        self._numbers = count(1)

    def __call__(self, call: Call[R]) -> R:
        """Send one call, and read its answer."""
        if call.script.numbered:
            call = call.on(self.keys.producer("p:0"), next(self._numbers))
        return call.read(self.send(call))

    def send(self, call: Call[Any]) -> Any:
        """Send one call as it is; answers what came back."""
        words = (len(call.keys), *call.keys, *call.args)
        try:
            return self.client.execute_command("EVALSHA", call.script.sha, *words)
        except NoScriptError:
            return self.client.execute_command("EVAL", call.script.text, *words)

    def drive(self, steps: Steps[R]) -> R:
        """Send the calls of an operation, one after the other."""
        answer: Any = None
        while True:
            try:
                answer = self(steps.send(answer))
            except StopIteration as stop:
                result: R = stop.value
                return result

    def now_ms(self) -> int:
        """The server's clock."""
        seconds, micros = self.client.time()
        return int(seconds) * 1000 + int(micros) // 1000

    def add(self, *ids: str, data: object = None, **options: Any) -> list[AddAnswer]:
        """Add jobs of these ids, all with the same options."""
        now = self.now_ms()
        made = [
            prepare("sms", data, {"job_id": one, **options}, {}, created_ms=now, fresh_id="", label="Send it")
            for one in ids
        ]
        return [stored.answer for stored in self.drive(add_many(self.keys, made))]

    def enter(self, session: str = "s", lease_ms: int = 30_000) -> None:
        """Make a session known."""
        self(lease.enter(self.keys, session, f"host:{session}", "host", 7, lease_ms))

    def claim(self, n: int = 1, session: str = "s") -> list[lease.Claimed]:
        """Claim up to n jobs."""
        return self.pump(lease.Settles(), n, session).claimed

    def settle(self, run: lease.Claimed, settlement: Settlement, session: str = "s", **rules: Any) -> str:
        """Hand one run's outcome back; answers the letter."""
        listed = rules.pop("rule", lease.ListRule())
        settles = lease.Settles()
        settles.add(run, *words_of(settlement, attempt=run.failed + 1, rules=RunRules(retries=3, backoff=1, **rules)))
        return self.pump(settles, 0, session, listed).words

    def run(self, job_id: str, settlement: Settlement, **rules: Any) -> None:
        """Claim the next job, which must be this one, and settle it so."""
        (run,) = self.claim()
        assert run.id == job_id
        assert self.settle(run, settlement, **rules) == "o"

    def finish(self, state: str, job_id: str, **options: Any) -> None:
        """Add a job, and bring it into a state by its ordinary way; none may wait before."""
        self.add(job_id, **options)
        if state == "active":
            assert [run.id for run in self.claim()] == [job_id]
        elif state == "completed":
            self.run(job_id, Complete(b'{"sent":2}'))
        elif state == "failed":
            self.run(job_id, Fail(ERROR))
        elif state == "cancelled":
            self.run_cancelled(job_id)

    def run_cancelled(self, job_id: str) -> None:
        """Cancel the next job while it runs."""
        (run,) = self.claim()
        assert run.id == job_id
        assert self(cancel(self.keys, job_id, "not wanted")) == "requested"
        assert self.settle(run, Release()) == "x"

    def fail_once(self, job_id: str, delay_ms: int = 0) -> None:
        """Claim the next job, and let it fail with a retry due."""
        self.run(job_id, RetryIn(delay_ms, ERROR))

    def snooze(self, job_id: str, delay_ms: int = 60_000, note: str = "") -> None:
        """Claim the next job, and let it be run later."""
        self.run(job_id, SnoozeFor(delay_ms, note))

    def pump(
        self, settles: lease.Settles, n: int, session: str = "s", rule: lease.ListRule | None = None
    ) -> lease.Trip:
        """One round trip of a session's lane."""
        return self(self.trip(settles, n, session=session, rule=rule))

    def trip(
        self,
        settles: lease.Settles | None = None,
        n: int = 0,
        told: Sequence[Told] = (),
        session: str = "s",
        rule: lease.ListRule | None = None,
    ) -> Call[lease.Trip]:
        """The same, not sent yet; with what running jobs tell."""
        reports = lease.Reports(*zip(*told, strict=True)) if told else lease.NO_REPORTS
        return lease.pump(
            self.keys,
            session,
            f"host:{session}",
            "0",
            next(self._numbers),
            settles or lease.Settles(),
            n,
            (),
            rule or lease.ListRule(),
            reports,
        )

    def tell(self, *told: Told, session: str = "s") -> str:
        """What running jobs tell; a letter each."""
        return self(self.trip(told=told, session=session)).told

    def events(self, *kinds: str) -> list[tuple[str, str, str | None]]:
        """What happened, of these kinds or of all: kind, id and detail."""
        found = [
            one
            for _, fields in self.client.xrange(self.keys["events"])
            for one in happenings([part for pair in fields.items() for part in pair])
        ]
        told = [(one.kind.decode(), (one.job_id or b"").decode(), one.detail) for one in found]
        return [
            (kind, id, None if text is None else text.decode()) for kind, id, text in told if not kinds or kind in kinds
        ]

    def entries(self) -> list[dict[bytes, bytes]]:
        """The entries of the stream, each as its fields."""
        return [fields for _, fields in self.client.xrange(self.keys["events"])]

    def stored(self) -> dict[bytes, bytes]:
        """All that is kept, but for sessions, events and what a queue has one of."""
        mine = (b"session:", b"producer:", b"events", b"meta")
        base = self.keys.base.encode()
        found = {key: self.client.dump(key) for key in sorted(self.client.scan_iter(count=1000))}
        return {key: dump for key, dump in found.items() if not key.removeprefix(base).startswith(mine)}

    def outcome(self, job_id: str) -> dict[str, str]:
        """All that is kept of how a job ended."""
        found = self.client.hgetall(self.keys.family("outcome") + job_id)
        return {name.decode(): text.decode() for name, text in found.items()}

    def lines(self, job_id: str) -> list[str]:
        """What a job's runs logged."""
        return [line.decode() for line in self.client.lrange(self.keys.log(job_id), 0, -1)]

    def noted(self, name: str, job_id: str = "a") -> str | None:
        """A job's field of one of the hashes."""
        text = self.client.hget(self.keys[name], job_id)
        return None if text is None else text.decode()

    def tokens(self) -> int:
        """How many wake tokens are out."""
        length: int = self.client.llen(self.keys["wake"])
        return length

    def take_token(self) -> None:
        """Take the token, as an idle worker does."""
        self.client.delete(self.keys["wake"])

    def places(self, job_id: str) -> list[str]:
        """All places that list the job."""
        states = ("waiting", "delayed", "active", "completed", "failed", "cancelled")
        return [one for one in states if self.client.zscore(self.keys[one], job_id) is not None]

    def kept_keys(self) -> set[str]:
        """Suffixes of all keys of jobs."""
        found = {key.decode().removeprefix(self.keys.base) for key in self.client.scan_iter(count=1000)}
        return {one for one in found if one.startswith(("job:", "outcome:"))}

    def audit(self) -> list[str]:
        """What is inconsistent."""
        return self.drive(audit(self.keys))


@pytest.fixture(scope="session")
def server() -> Iterator[PrivateServer]:
    with PrivateServer() as started:
        yield started


@pytest.fixture(scope="session")
def real_client(server: PrivateServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url) as client:
        yield client


@pytest.fixture
def real(real_client: redis.Redis) -> Iterator[World]:
    """A world on the genuine server."""
    real_client.flushall()
    yield from _audited(World(real_client, Keys("q", "redqueue")))


@pytest.fixture(params=["server", "fakeredis"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """A world on each."""
    if request.param == "server":
        client: Any = request.getfixturevalue("real_client")
        client.flushall()
    else:
        client = fakeredis.FakeRedis()
    yield from _audited(World(client, Keys("q", "redqueue")))


def _audited(world: World) -> Iterator[World]:
    yield world
    if not world.broken:
        assert world.audit() == []
