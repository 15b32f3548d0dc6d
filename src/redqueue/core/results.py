"""Waiting for how jobs end: what events and looks at a queue say of it. All of it without I/O, for tasks and threads.

Who waits joins a `Watch`. It is told by the stream of events, which one reader a queue follows for all. Where the
reader began too late for a job, a look at the queue comes first: it says how the job ended, or that it did not until
a certain event, and from there on the stream is followed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import msgspec

from redqueue.core.bombs import decode
from redqueue.core.events import (
    BEGINNING,
    TOO_LARGE,
    Cursor,
    EntryId,
    Happening,
    Tail,
    after,
    happenings,
    moved,
    read_count,
    read_id,
    split_failure,
    tail,
)
from redqueue.core.inspect import FINISHED, read_error
from redqueue.core.keys import Keys
from redqueue.core.lease import ErrorFacts
from redqueue.core.script import Call, Steps, load
from redqueue.core.seal import QueueSeal, refuse_sealed
from redqueue.errors import CorruptEnvelope, JobCancelled, JobFailed, ResultGone, ResultTimeout
from redqueue.options import check_job_id

PEEK: Final = load("peek")

BLOCK_S: Final = 2.0
LINGER_S: Final = 2.0
"""Seconds for which the stream is still followed when nobody waits: mostly the next one comes soon."""

Kind: TypeAlias = Literal["completed", "failed", "cancelled", "gone", "closed", "broken"]

_A_PEEK: Final = 1000
_ENDS: Final[Mapping[bytes, Kind]] = {
    b"completed": "completed",
    b"failed": "failed",
    b"cancelled": "cancelled",
    b"removed": "gone",
}
_ERROR_GONE: Final = ErrorFacts("Error", "its error is no longer kept")


class Ending(NamedTuple):
    """How one job ended, or why nobody will learn it.

    Attributes:
        text: the JSON of the result or error, or the reason; TOO_LARGE when it is to be looked up.
        error: of "broken": what Redis refused.
    """

    kind: Kind
    text: bytes = b""
    attempts: int = 0
    error: Exception | None = None


GONE: Final = Ending("gone")


class Seen(NamedTuple):
    """A look at some jobs: how they ended, None for those that did not until the event `newest`."""

    newest: EntryId
    endings: dict[str, Ending | None]


def value_of(job_id: str, ending: Ending | None, seal: QueueSeal | None = None) -> Any:
    """The job's result; None of an ending is that nothing is known yet.

    Raises:
        JobFailed, JobCancelled, ResultGone, ResultTimeout: how it ended instead.
        CorruptEnvelope: the result is not what redqueue stored.
        BadSignature: it, or the error, was not sealed for this job by a key of ours.
    """
    if ending is None:
        raise ResultTimeout(f"job {job_id} has not ended yet; it goes on")
    if ending.kind == "completed":
        return _decode(job_id, ending.text if seal is None else seal.open("result", job_id, ending.text))
    if ending.kind == "failed":
        text = ending.text if seal is None or not ending.text else seal.open("error", job_id, ending.text)
        facts = (read_error(text) if text else None) or _ERROR_GONE
        raise JobFailed(job_id, facts.type, facts.message, facts.traceback, ending.attempts)
    if ending.kind == "cancelled":
        raise JobCancelled(job_id, ending.text.decode("utf-8", "replace"))
    if ending.kind == "closed":
        raise ResultTimeout(f"job {job_id} has not ended yet, and the queue's handle was closed; the job goes on")
    if ending.error is not None:
        raise copy(ending.error) from ending.error  # each waiter gets one of its own
    raise ResultGone(f"there is no job {job_id}, or it ended and is no longer kept")


def look(keys: Keys, since: Mapping[str, EntryId | None]) -> Steps[Seen]:
    """How jobs ended, by their ids.

    Args:
        since: an event before all that became of a job, where one is known: then also the ending of a job that left
            nothing else is found.
    """
    endings: dict[str, Ending | None] = {}
    newest: EntryId | None = None
    left = list(since)
    while left:
        seen: Seen = yield _peek(keys, left[:_A_PEEK])
        newest = newest or seen.newest
        endings |= seen.endings
        left = [id for id in left[:_A_PEEK] if id not in endings] + left[_A_PEEK:]
    lost = {id: began for id, began in since.items() if began is not None and endings[id] == GONE}
    if lost:
        endings |= yield from _scan(keys, lost)
    return Seen(newest or EntryId(0, 0), endings)


def look_once(keys: Keys, job_id: str, position: str | None) -> Steps[Ending | None]:
    """How one job ended, None when it did not."""
    seen = yield from look(keys, {check_job_id(job_id): read_id(position) if position else None})
    return seen.endings[job_id]


def endings_in(fields: Sequence[bytes]) -> Iterator[tuple[bytes, Ending]]:
    """The ends that an entry of the stream tells of, by the jobs' ids."""
    for one in happenings(fields):
        ending = _ending_of(one)
        if ending is not None and one.job_id is not None:
            yield one.job_id, ending


class Waiter:
    """Who waits for one job.

    Args:
        position: an event before all that becomes of the job, as `add` answered it.
        wake: called once `ending` is there.
    """

    __slots__ = ("early", "ending", "floor", "hint", "job_id", "position", "wake")

    def __init__(self, job_id: str, position: str | None, wake: Callable[[], object]) -> None:
        self.job_id = job_id
        self.position = read_id(position) if position else None
        self.wake = wake
        self.ending: Ending | None = None
        self.floor: EntryId | None = None  # it had not ended until then; None: to be looked at first
        self.early: list[tuple[EntryId, Ending]] = []  # told before it was looked at
        self.hint: Ending | None = None  # its end, whose text is to be looked up


class Watch:
    """Who waits for the jobs of one queue, and up to where its stream was read. Of one event loop, or under a lock.

    Attributes:
        position: None while nobody reads the stream.
    """

    def __init__(self) -> None:
        self.position: EntryId | None = None
        self._began = EntryId(0, 0)
        self._waiting: dict[bytes, dict[Waiter, None]] = {}
        self._unseen: list[Waiter] = []
        self._busy_at = 0.0

    def join(self, waiter: Waiter) -> None:
        """Tell this one, too. Where the stream was not read beyond its job's beginning, it need not be looked at."""
        self._waiting.setdefault(waiter.job_id.encode(), {})[waiter] = None
        read_to = self.position or BEGINNING.entry  # there the queue may have begun anew, and its job be of the old one
        if waiter.position is not None and BEGINNING.entry < read_to <= waiter.position:
            waiter.floor = waiter.position
        else:
            self._unseen.append(waiter)

    def leave(self, waiter: Waiter) -> None:
        """Tell this one no more. Twice is fine."""
        id = waiter.job_id.encode()
        waiting = self._waiting.get(id, {})
        waiting.pop(waiter, None)
        if not waiting:
            self._waiting.pop(id, None)

    @property
    def unseen(self) -> bool:
        """Whether somebody's job is to be looked at."""
        return bool(self._unseen)

    def take_unseen(self) -> list[Waiter]:
        """Those whose jobs are to be looked at, once."""
        taken, self._unseen = self._unseen, []
        return [one for one in taken if self._waits(one)]

    def put_back(self, waiters: Sequence[Waiter]) -> None:
        """They could not be looked at: later."""
        self._unseen += waiters

    def looked(self, waiters: Sequence[Waiter], seen: Seen) -> None:
        """What a look says to those whose jobs were looked at. The first one starts the reading."""
        for waiter in waiters:
            if not self._waits(waiter):
                continue
            ending = seen.endings[waiter.job_id]
            if ending == GONE and waiter.hint is not None:
                ending = _without_lookup(waiter.hint)
            if ending is not None:
                self._end(waiter, ending)
                continue
            if self.position is None:
                self.position = self._began = seen.newest
            if seen.newest < self._began:  # what happened in between is in neither
                self._unseen.append(waiter)
                continue
            waiter.floor, waiter.hint = seen.newest, None
            early, waiter.early = waiter.early, []
            for entry, told in early:
                self._tell(waiter, entry, told)

    def feed(self, found: Tail) -> str | None:
        """What follows `position`. After a gap all are looked at again.

        Answers behind which event to wait for another; None when there is no use in waiting.
        """
        if self.position is None:
            return None
        if found.gap:
            self._began = found.entries[0].id if found.entries else found.newest
            for waiter in [one for waiters in self._waiting.values() for one in waiters if one.floor is not None]:
                self._look_again(waiter)
        for entry in found.entries:
            for job_id, ending in endings_in(entry.fields):
                for waiter in tuple(self._waiting.get(job_id, ())):
                    self._tell(waiter, entry.id, ending)
        self.position = moved(after(self.position), found).entry
        return None if found.entries else str(self.position)

    def next_call(self, keys: Keys) -> Call[Tail]:
        """What follows `position`, from the server. What comes after nothing at all is a gap, too: all look again."""
        return tail(keys, Cursor(self.position or BEGINNING.entry))

    def rests(self, now: float) -> bool:
        """Whether the reading may stop, and then it has: nobody has waited for a while, by a monotonic clock."""
        if self._waiting:
            self._busy_at = now
        elif now - self._busy_at >= LINGER_S:
            self.position = None
        return self.position is None

    def fail(self, error: Exception) -> None:
        """End all waiting with an error, and the reading."""
        self._end_all(Ending("broken", error=error))

    def close(self) -> None:
        """End all waiting, and the reading."""
        self._end_all(Ending("closed"))

    def _end_all(self, ending: Ending) -> None:
        self.position = None
        self._unseen = []
        for waiter in [one for waiters in self._waiting.values() for one in waiters]:
            self._end(waiter, ending)

    def _tell(self, waiter: Waiter, entry: EntryId, ending: Ending) -> None:
        if waiter.floor is None:
            waiter.early.append((entry, ending))
        elif entry > waiter.floor and ending.text == TOO_LARGE:
            waiter.hint = ending
            self._look_again(waiter)
        elif entry > waiter.floor:
            self._end(waiter, ending)

    def _look_again(self, waiter: Waiter) -> None:
        waiter.floor = None
        waiter.early = []
        self._unseen.append(waiter)

    def _end(self, waiter: Waiter, ending: Ending) -> None:
        self.leave(waiter)
        waiter.ending = ending
        waiter.wake()

    def _waits(self, waiter: Waiter) -> bool:
        return waiter in self._waiting.get(waiter.job_id.encode(), ())


def look_for(keys: Keys, waiters: Sequence[Waiter]) -> Steps[Seen]:
    """The look that these need."""
    since: dict[str, EntryId | None] = {}
    for waiter in waiters:
        began = None if waiter.hint else waiter.position
        known = since.setdefault(waiter.job_id, began)
        if began is not None and (known is None or began < known):
            since[waiter.job_id] = began
    return look(keys, since)


def _peek(keys: Keys, ids: Sequence[str]) -> Call[Seen]:
    """A look at no more of them than fit into one answer, at least one."""

    def read(raw: Any) -> Seen:
        reply = PEEK.reply(raw)
        rows = zip(ids, reply.states, reply.found, strict=True)
        return Seen(
            read_id(reply.newest),
            {id: _read_ending(state.decode(), found) for id, state, found in rows if state != b"later"},
        )

    return PEEK.call(read, keys, job_ids=ids)


def _read_ending(state: str, found: Sequence[bytes | None] | None) -> Ending | None:
    if state == "missing":
        return GONE
    if state not in FINISHED:
        return None
    result, error, reason, attempt = found or (None, None, None, None)
    text = {"completed": result, "failed": error, "cancelled": reason}[state]
    return Ending(state, text or b"", read_count(attempt))  # type: ignore[arg-type]  # what FINISHED holds


def _scan(keys: Keys, since: Mapping[str, EntryId]) -> Steps[dict[str, Ending]]:
    """How jobs ended that are not in the queue any more, as the stream tells it from where they were added.

    It is read to its end: a job that ended may have been run again by hand.
    """
    wanted = {id.encode(): began for id, began in since.items()}
    found: dict[str, Ending] = {}
    cursor, end = after(min(since.values())), None
    while True:
        read: Tail = yield tail(keys, cursor)
        end = end or read.newest
        for entry in read.entries:
            for one in happenings(entry.fields):
                if one.job_id in wanted and entry.id > wanted[one.job_id]:
                    _follow(one, wanted, found)
        cursor = moved(cursor, read)
        if not read.entries or not wanted or cursor.entry >= end:
            return found


def _follow(one: Happening, wanted: dict[bytes, EntryId], found: dict[str, Ending]) -> None:
    """What one event says of a job that is wanted."""
    assert one.job_id is not None
    if one.kind == b"added":  # another job of its id
        del wanted[one.job_id]
    elif one.kind == b"retrying":
        found.pop(one.job_id.decode(), None)
    elif (ending := _ending_of(one)) is not None:
        found.setdefault(one.job_id.decode(), _without_lookup(ending))


def _ending_of(one: Happening) -> Ending | None:
    ends = _ENDS.get(one.kind)
    if ends is None:
        return None
    if ends == "failed":
        attempts, error = split_failure(one.detail)
        return Ending(ends, error, attempts)
    return Ending(ends, b"" if one.detail is None or ends == "gone" else one.detail)


def _without_lookup(ending: Ending) -> Ending:
    """What is too large for an event, and not kept either."""
    if ending.text != TOO_LARGE:
        return ending
    return GONE if ending.kind == "completed" else ending._replace(text=b"")


def _decode(job_id: str, stored: bytes) -> Any:
    try:
        return decode(stored) if stored else None
    except (ValueError, RecursionError, msgspec.MsgspecError) as error:
        refuse_sealed("result", job_id, stored)
        raise CorruptEnvelope(f"job {job_id}: its result can't be read: {error}") from error
