"""A worker's calls: rights, enter, pump (settle and claim), renew, recover, leave; expire, when it is known dead."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from itertools import accumulate
from typing import Any, Final

import msgspec

from redqueue.core.codec import FORMAT
from redqueue.core.keys import Keys
from redqueue.core.report import Kind
from redqueue.core.script import Call, Steps, load
from redqueue.errors import RedisRefused

ENTER: Final = load("enter")
PUMP: Final = load("pump")
RENEW: Final = load("renew")
RECOVER: Final = load("recover")
LEAVE: Final = load("leave")
EXPIRE: Final = load("expire")
RIGHTS: Final = load("rights")

MOST_A_CALL: Final = 1000
MOST_BYTES: Final = 4 * 1024 * 1024
MOST_RECOVERED: Final = 100

_COUNT: Final = re.compile(r"[0-9]{1,15}")


class ErrorFacts(msgspec.Struct, frozen=True):
    """An error as data: text only, so that reading one can run nothing."""

    type: str
    message: str
    traceback: str = ""


class ListRule(msgspec.Struct, frozen=True):
    """How a queue's finished jobs are kept: counts, and ages in ms; -1 is no limit."""

    completed: tuple[int, int] = (10, -1)
    failed: tuple[int, int] = (50, -1)


class Claimed(msgspec.Struct, eq=False, gc=False):
    """One job that this session has the right to run, by the token of its claim: the session and `number`.

    Attributes:
        failed, crashes: counted before this run.
        note, noted_ms: why the job waited, and since when.
        saved: the last checkpoint of an earlier run, as JSON.
        fence: greater than that of any claim before.
        fresh_until: the monotonic time until which it may be started without asking Redis again.
        renew_until: the monotonic time after which its lease is not renewed any more: it ran out of time.
    """

    id: str
    number: int
    position: int
    envelope: bytes
    failed: int = 0
    crashes: int = 0
    note: str = ""
    noted_ms: int = 0
    saved: bytes | None = None
    fence: int = 0
    fresh_until: float = 0.0
    renew_until: float = math.inf


class Settles(msgspec.Struct):
    """Outcomes on their way, a column each, as the script takes them; `size` is the bytes of the outcomes."""

    runs: list[Claimed] = []
    verdicts: list[str] = []
    outcomes: list[bytes | str] = []
    size: int = 0

    def __len__(self) -> int:
        return len(self.runs)

    def add(self, run: Claimed, verdict: str, outcome: bytes | str) -> None:
        """One more, at the end."""
        self.runs.append(run)
        self.verdicts.append(verdict)
        self.outcomes.append(outcome)
        self.size += len(outcome)

    def take(self, most: int, held_back: AbstractSet[Claimed] = frozenset()) -> Settles:
        """Take the first ones away: so many, or about 4 MiB of outcomes, and at least one; not those held back."""
        if held_back and not held_back.isdisjoint(self.runs):
            return self._take_around(most, held_back)
        if self.size > MOST_BYTES:
            sizes = accumulate(len(outcome) for outcome in self.outcomes[:most])
            most = max(1, sum(size <= MOST_BYTES for size in sizes))
        taken = Settles(self.runs[:most], self.verdicts[:most], self.outcomes[:most])
        taken.size = self.size if len(self) <= most else sum(map(len, taken.outcomes))
        self.size -= taken.size
        del self.runs[:most], self.verdicts[:most], self.outcomes[:most]
        return taken

    def _take_around(self, most: int, held_back: AbstractSet[Claimed]) -> Settles:
        ready, kept = Settles(), Settles()
        for row in zip(self.runs, self.verdicts, self.outcomes, strict=True):
            (kept if row[0] in held_back else ready).add(*row)
        taken = ready.take(most)
        for row in zip(ready.runs, ready.verdicts, ready.outcomes, strict=True):
            kept.add(*row)
        self.runs, self.verdicts, self.outcomes, self.size = kept.runs, kept.verdicts, kept.outcomes, kept.size
        return taken


class Reports(msgspec.Struct, frozen=True):
    """What running jobs tell of themselves, a column each, as the script takes them."""

    runs: Sequence[Claimed] = ()
    kinds: Sequence[Kind] = ()
    texts: Sequence[bytes] = ()


NO_REPORTS: Final = Reports()


class Trip(msgspec.Struct, frozen=True):
    """The answer to a pump.

    Attributes:
        stale: a later call of the lane was carried out before; this one changed nothing.
        words: a letter for each settle: o recorded, x ended as cancelled, l lost.
        told: a letter for each report: o noted, l lost.
        next_due_ms: until the next delayed job, or -1.
        more: claimable jobs were left behind.
    """

    stale: bool
    words: str
    told: str
    claimed: list[Claimed]
    now_ms: int
    lease_ms: int
    next_due_ms: int
    more: bool
    paused: bool


class Renewal(msgspec.Struct, frozen=True):
    """The answer to a renewal: a letter each, k kept, c kept but cancelled, l lost."""

    words: str
    lease_ms: int


class Recovery(msgspec.Struct, frozen=True):
    """The answer to a scan: how many jobs were taken back or ended, and for how long recovery still holds."""

    count: int
    hold_ms: int
    crashed: list[str]


def enter(keys: Keys, session: str, worker: str, host: str, pid: int, lease_ms: int) -> Call[int]:
    """Make a session known. Answers the queue's lease length in ms: the longest that a living worker asked for.

    A user who lacks a right that a later call needs is refused here, by Redis's word for the first of them.
    """

    def read(raw: Any) -> int:
        reply = ENTER.reply(raw)
        if reply.state != b"ok":
            raise RedisRefused(
                f"queue {keys.queue} is stored in another format than this release's ({FORMAT}): "
                "upgrade redqueue here, or use another prefix"
            )
        return int(reply.lease)

    return ENTER.call(
        read,
        keys,
        session=keys.session(session),
        session_id=session,
        worker=worker,
        host=host,
        pid=str(pid),
        wanted=lease_ms,
        format=FORMAT,
    )


def rights(keys: Keys) -> Call[None]:
    """Refused when the user lacks a right that a worker's calls need; nothing is changed."""

    def read(raw: Any) -> None:
        RIGHTS.reply(raw)

    return RIGHTS.call(read, keys)


def pump(
    keys: Keys,
    session: str,
    worker: str,
    lane: str,
    number: int,
    settles: Settles,
    n: int,
    unstarted: Sequence[Claimed],
    rule: ListRule,
    reports: Reports = NO_REPORTS,
) -> Call[Trip]:
    """Note what jobs tell, settle what they became, then claim up to n; at most 1,000 ids of each."""

    def read(raw: Any) -> Trip:
        reply = PUMP.reply(raw)
        return Trip(
            reply.state == b"stale",
            reply.words.decode(),
            reply.told.decode(),
            _claimed(number, reply),
            reply.now,
            reply.lease,
            reply.next_due,
            reply.more == 1,
            reply.paused == 1,
        )

    return PUMP.call(
        read,
        keys,
        session=keys.session(session),
        session_id=session,
        worker=worker,
        lane=lane,
        number=number,
        n=n,
        unstarted=_spans(unstarted) if unstarted else "",
        completed_count=rule.completed[0],
        completed_age=rule.completed[1],
        failed_count=rule.failed[0],
        failed_age=rule.failed[1],
        report_ids=[run.id for run in reports.runs],
        report_numbers=[run.number for run in reports.runs],
        report_kinds=reports.kinds,
        report_texts=reports.texts,
        settle_ids=[run.id for run in settles.runs],
        settle_numbers=[run.number for run in settles.runs],
        settle_verdicts=settles.verdicts,
        settle_outcomes=settles.outcomes,
    )


def renew(keys: Keys, session: str, runs: Sequence[Claimed]) -> Call[Renewal]:
    """Prolong at most 1,000 leases; with none, the sign of life of an idle session."""

    def read(raw: Any) -> Renewal:
        reply = RENEW.reply(raw)
        return Renewal(reply.words.decode(), reply.lease)

    return RENEW.call(
        read,
        keys,
        session=keys.session(session),
        session_id=session,
        ids=[run.id for run in runs],
        numbers=[run.number for run in runs],
    )


def recover(keys: Keys, max_crashes: int) -> Call[Recovery]:
    """Take back at most 100 jobs whose lease ended. 100: call again at once."""
    facts = ErrorFacts("WorkerCrashed", f"its worker died while it ran, {max_crashes} times: it is not run again")

    def read(raw: Any) -> Recovery:
        reply = RECOVER.reply(raw)
        return Recovery(reply.count, reply.hold, [_text(job_id) for job_id in reply.crashed])

    return RECOVER.call(read, keys, max_crashes=max_crashes, error=msgspec.json.encode(facts))


def leave(keys: Keys, session: str, lanes: Sequence[str], runs: Sequence[Claimed]) -> Call[int]:
    """Close a session and give back at most 1,000 jobs that it still holds, uncounted. Answers how many."""

    def read(raw: Any) -> int:
        released: int = LEAVE.reply(raw).released
        return released

    return LEAVE.call(
        read,
        keys,
        session=keys.session(session),
        session_id=session,
        lanes=lanes,
        held_ids=[run.id for run in runs],
        held_numbers=[run.number for run in runs],
    )


def expire(keys: Keys, session: str, lanes: Sequence[str], cursor: str) -> Call[tuple[str, int]]:
    """Close a dead worker's session and end its leases, a page of the active jobs a call, beginning with cursor "0".

    Answers the next page's cursor, "0" after the last one, and how many leases of this page were the session's. For
    whoever saw the process end: a worker that lives would lose what it runs.
    """

    def read(raw: Any) -> tuple[str, int]:
        reply = EXPIRE.reply(raw)
        return reply.cursor.decode(), reply.expired

    return EXPIRE.call(read, keys, session=keys.session(session), session_id=session, cursor=cursor, lanes=lanes)


def expire_session(keys: Keys, session: str, lanes: Sequence[str], max_crashes: int) -> Steps[int]:
    """Take back at once what a dead worker held. Answers how many jobs that were.

    Cost: a round trip for each 500 active jobs of the queue, and one for each 100 that are taken back.
    """
    cursor, count = yield expire(keys, session, lanes, "0")
    while cursor != "0":
        cursor, more = yield expire(keys, session, lanes, cursor)
        count += more
    while (yield recover(keys, max_crashes)).count >= MOST_RECOVERED:
        pass
    return int(count)


def _spans(runs: Sequence[Claimed]) -> str:
    """``number:first-last ...``: what is claimed together stands together, so that a thousand are a few words."""
    spans: list[str] = []
    number, first, last = runs[0].number, runs[0].position, runs[0].position - 1
    for run in runs:
        if run.number != number or run.position != last + 1:
            spans.append(f"{number}:{first}-{last}")
            number, first = run.number, run.position
        last = run.position
    spans.append(f"{number}:{first}-{last}")
    return " ".join(spans)


def _text(stored: bytes) -> str:
    """Whatever it is: one job that was written by hand must not keep a worker from the others."""
    return stored.decode("utf-8", "backslashreplace")


def _counts_of(tried: bytes) -> tuple[int, int]:
    failed, crashes, *_ = (*_text(tried).split(" "), "", "")
    return (
        int(failed) if _COUNT.fullmatch(failed) else 0,
        int(crashes) if _COUNT.fullmatch(crashes) else 0,
    )


def _claimed(number: int, reply: Any) -> list[Claimed]:
    envelopes = reply.envelopes
    fence = reply.fence
    ids = reply.ids
    jobs = [Claimed(_text(id), number, n, envelopes[n - 1], fence=fence) for n, id in enumerate(ids, 1)]
    for job, tried in zip(jobs, reply.tried, strict=False):
        if tried is not None:
            job.failed, job.crashes = _counts_of(tried)
    for job, noted in zip(jobs, reply.noted, strict=False):
        if noted is not None:
            since, _, job.note = _text(noted).partition(" ")
            job.noted_ms = int(since) if _COUNT.fullmatch(since) else 0
    for job, saved in zip(jobs, reply.saved, strict=False):
        job.saved = saved
    if None in envelopes:  # gaps in the answer to a resend: what is not this session's any more
        return [job for job, envelope in zip(jobs, envelopes, strict=True) if envelope is not None]
    return jobs
