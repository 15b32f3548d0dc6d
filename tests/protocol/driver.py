"""A queue on a genuine server whose clock the test sets, driven call by call, with every lane and number in plain view.

The server's own clock can't be set. So the scripts are sent in a variant that reads a key of the test's instead of
asking for `TIME`; nothing else in them differs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from typing import TYPE_CHECKING, Any, Final, TypeVar

from redis.exceptions import NoScriptError

from redqueue.core import lease
from redqueue.core.add import NewJob, add, prepare
from redqueue.core.audit import audit
from redqueue.core.keys import Keys
from redqueue.core.lease import Claimed, ListRule, Settles, Trip
from redqueue.core.lifecycle import RunRules, Settlement, words_of
from redqueue.core.script import Call, Script

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

    from redqueue.core.script import Steps

R = TypeVar("R")

CLOCK: Final = "test:clock"
START: Final = 1_234_567_890_000
"""When the tests begin, in ms: far from any machine's clock, so that a script that asked another one is found."""
LEASE: Final = 30_000
ERROR: Final = b'{"type":"ValueError","message":"no such number","traceback":""}'
KEPT: Final = ListRule()

_REAL: Final = "redis.call('TIME')"
_OURS: Final = f"redis.call('HMGET', '{CLOCK}', 's', 'us')"


@cache
def on_test_clock(script: Script) -> Script:
    """The same script, asking the test's clock."""
    assert script.text.count(_REAL) <= 1
    return Script(script.name, script.text.replace(_REAL, _OURS), script.header)


class Wire:
    """One queue, and the clock."""

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self.client: Any = client
        self.keys = keys
        self.now = 0
        self.expected_findings: list[str] = []
        self.set_clock(START)

    def set_clock(self, now_ms: int) -> None:
        """Let it be that time."""
        self.now = now_ms
        self.client.hset(CLOCK, mapping={"s": now_ms // 1000, "us": now_ms % 1000 * 1000})

    def pass_time(self, ms: int) -> None:
        """Let time pass; back, when it is negative."""
        self.set_clock(self.now + ms)

    def send(self, call: Call[Any]) -> Any:
        """Send one call as it is; what came back, not read."""
        script = on_test_clock(call.script)
        words = (len(call.keys), *call.keys, *call.args)
        try:
            return self.client.execute_command("EVALSHA", script.sha, *words)
        except NoScriptError:
            return self.client.execute_command("EVAL", script.text, *words)

    def __call__(self, call: Call[R]) -> R:
        """Send one call, and read its answer."""
        return call.read(self.send(call))

    def drive(self, steps: Steps[R], number: Callable[[Call[Any]], Call[Any]] = lambda call: call) -> R:
        """Send the calls of an operation, one after the other."""
        answer: Any = None
        while True:
            try:
                answer = self(number(steps.send(answer)))
            except StopIteration as stop:
                result: R = stop.value
                return result

    def audit(self) -> list[str]:
        """What is inconsistent."""
        return self.drive(audit(self.keys))

    def recover(self, max_crashes: int = 3) -> lease.Recovery:
        """One scan."""
        return self(lease.recover(self.keys, max_crashes))

    def recover_all(self) -> list[int]:
        """Scans as a worker makes them: at once again after a full one. How many each took back."""
        counts = [self.recover().count]
        while counts[-1] == 100:
            counts.append(self.recover().count)
        return counts

    def ids(self, state: str) -> list[str]:
        """The jobs of one place, in its order."""
        found = self.client.zrange(self.keys[state], 0, -1)
        return [id.decode() for id in found if not id.startswith(b"redqueue sentinel")]

    def deadline(self, job_id: str) -> int:
        """When the lease of an active job ends."""
        return int(self.client.zscore(self.keys["active"], job_id))

    def token_out(self) -> bool:
        """Whether a wake token is there. At most one ever is."""
        length: int = self.client.llen(self.keys["wake"])
        assert length <= 1
        return length == 1

    def take_token(self) -> None:
        """What an idle worker does when it is woken."""
        self.client.delete(self.keys["wake"])

    def tries(self, job_id: str) -> tuple[int, int, int]:
        """Failures, crashes and recoveries of one job."""
        text = self.client.hget(self.keys["tries"], job_id) or b"0 0 0"
        failed, crashes, recoveries = (int(part) for part in text.split())
        return failed, crashes, recoveries

    def everything(self) -> dict[bytes, Any]:
        """Every key of the database with all it holds, but for the clock and times to live."""
        found = {key: self.client.dump(key) for key in sorted(self.client.scan_iter(count=1000))}
        found.pop(CLOCK.encode(), None)
        return found

    @contextmanager
    def full(self) -> Iterator[None]:
        """While it lasts the server is out of memory: the clock stands still."""
        self.client.config_set("maxmemory", 1)
        try:
            yield
        finally:
            self.client.config_set("maxmemory", 0)


@dataclass
class Producer:
    """One lane of a producer."""

    wire: Wire
    lane: str = "p:0"
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def number(self, call: Call[R]) -> Call[R]:
        """The same call with this lane's next number."""
        return call.on(self.wire.keys.producer(self.lane), next(self.numbers))

    def __call__(self, call: Call[R]) -> R:
        """Send one call under the next number."""
        return self.wire(self.number(call))

    def drive(self, steps: Steps[R]) -> R:
        """Send the calls of an operation, each under a number."""
        return self.wire.drive(steps, self.number)

    def prepare_add(self, *ids: str, data: object = None, **options: Any) -> Call[list[Any]]:
        """A numbered add, not sent yet."""
        return self.number(add(self.wire.keys, [job(self.wire.now, one, data, **options) for one in ids]))

    def add(self, *ids: str, data: object = None, **options: Any) -> list[Any]:
        """Add jobs of these ids, all with the same options."""
        return [stored.answer for stored in self.wire(self.prepare_add(*ids, data=data, **options))]


@dataclass
class Session:
    """One start of one worker."""

    wire: Wire
    name: str = "s"
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def enter(self, lease_ms: int = LEASE) -> int:
        """Make it known; the lease that the queue has from now on."""
        return self.wire(lease.enter(self.wire.keys, self.name, f"host:{self.name}", "host", 7, lease_ms))

    def trip(
        self,
        *settles: tuple[Claimed, Settlement],
        n: int = 0,
        lane: str = "0",
        unstarted: Sequence[Claimed] = (),
        rule: ListRule = KEPT,
        keep: str = "-",
    ) -> Call[Trip]:
        """A pump under the next number, not sent yet."""
        handed = Settles([], [], [])
        rules = RunRules(retries=3, backoff=1, keep_completed=keep, keep_failed=keep)
        for run, settlement in settles:
            handed.add(run, *words_of(settlement, attempt=run.failed + 1, rules=rules))
        number = next(self.numbers)
        return lease.pump(self.wire.keys, self.name, f"host:{self.name}", lane, number, handed, n, unstarted, rule)

    def claim(self, n: int = 1, lane: str = "0") -> list[Claimed]:
        """Claim up to n jobs."""
        return self.wire(self.trip(n=n, lane=lane)).claimed

    def settle(self, run: Claimed, settlement: Settlement, **how: Any) -> str:
        """Hand one run's outcome back; the letter that answers it."""
        return self.wire(self.trip((run, settlement), **how)).words

    def renew(self, *runs: Claimed) -> str:
        """Renew these leases, or none; a letter each."""
        return self.wire(lease.renew(self.wire.keys, self.name, runs)).words

    def leave(self, *runs: Claimed) -> int:
        """Leave, giving these back; how many were still held."""
        return self.wire(lease.leave(self.wire.keys, self.name, ["0", "1"], runs))


def job(created_ms: int, job_id: str, data: object = None, **options: Any) -> NewJob:
    """One job, ready to be stored."""
    return prepare("sms", data, {"job_id": job_id, **options}, {}, created_ms=created_ms, fresh_id="")
