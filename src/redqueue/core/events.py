"""Reading the stream of what happened: which calls to make of it, and what its entries say."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple, cast, get_args

import msgspec

from redqueue.core.bombs import decode
from redqueue.core.keys import Keys
from redqueue.core.lease import ErrorFacts
from redqueue.core.report import Progress
from redqueue.core.script import Call, load
from redqueue.core.seal import Purpose, QueueSeal, refuse_sealed
from redqueue.errors import BadSignature, InvalidOption
from redqueue.records import Event, EventKind
from redqueue.units import from_epoch_ms, shown, to_epoch_ms

TAIL: Final = load("tail")

_LONGEST_COUNT: Final = 15
"""In digits; Python refuses to read thousands of them."""

A_READ: Final = 100
"""Entries a call; a busy queue's have up to about 32 KiB each."""

KINDS: Final[frozenset[str]] = frozenset(get_args(EventKind))
TOO_LARGE: Final = b">"
"""A detail that is looked up under the job's outcome instead."""

_WRITTEN: Final[dict[bytes, EventKind]] = {kind.encode(): cast(EventKind, kind) for kind in KINDS - {"missed"}}
_OF_THE_QUEUE: Final = frozenset((b"drained", b"paused", b"resumed"))
_SINCE: Final = re.compile(r"0|(\d{1,15})-(\d{1,19})(?:\.(\d{1,9}))?", re.ASCII)


class EntryId(NamedTuple):
    """Where an entry stands in the stream."""

    ms: int
    seq: int

    def __str__(self) -> str:
        return f"{self.ms}-{self.seq}"


class Entry(NamedTuple):
    """One entry: names and values in turn."""

    id: EntryId
    fields: Sequence[bytes]


class Cursor(NamedTuple):
    """Up to where a stream was read.

    Attributes:
        skip: how many of that entry's events were; None for all of them.
        known: the entry was in the stream once, so when it isn't any more, events after it may be gone, too.
    """

    entry: EntryId
    skip: int | None = None
    known: bool = True


class Tail(NamedTuple):
    """What follows a cursor. `gap`: events before the first entry may be gone."""

    entries: list[Entry]
    newest: EntryId
    gap: bool


class Happening(NamedTuple):
    """One event as it is stored. `job_id` is None for what concerns the whole queue."""

    kind: bytes
    job_id: bytes | None
    detail: bytes | None


BEGINNING: Final = Cursor(EntryId(0, 0), known=False)


def read_id(text: bytes | str) -> EntryId:
    """The id of an entry, as Redis writes it."""
    ms, _, seq = (text if isinstance(text, str) else text.decode()).partition("-")
    return EntryId(int(ms), int(seq))


def after(entry: EntryId) -> Cursor:
    """The cursor behind an entry. Nothing is known of what was before 0-0."""
    return Cursor(entry) if entry != BEGINNING.entry else BEGINNING


def tail(keys: Keys, cursor: Cursor | None, count: int = A_READ) -> Call[Tail]:
    """At most `count` entries after a cursor; without one only the newest id."""

    def read(raw: Any) -> Tail:
        reply = TAIL.reply(raw)
        entries = [Entry(read_id(id), fields) for id, fields in reply.entries]
        return Tail(entries, read_id(reply.newest), reply.gap == 1)

    return TAIL.call(
        read,
        keys,
        since="" if cursor is None else str(cursor.entry),
        known=int(cursor is not None and cursor.known),
        within=int(cursor is not None and cursor.skip is not None),
        count=count,
    )


def happenings(fields: Sequence[bytes]) -> Iterator[Happening]:
    """The events of one entry, in order. A detail belongs to its job's kind that is not active.

    What this release doesn't know is passed over.
    """
    pairs = list(zip(fields[::2], fields[1::2], strict=False))
    more = {name: value for name, value in pairs if name not in _WRITTEN}
    for kind, ids in pairs:
        if kind in _OF_THE_QUEUE:
            yield Happening(kind, None, None)
        elif kind == b"active":
            for job_id in ids.split():
                yield Happening(kind, job_id, more.get(b"worker"))
        elif kind in _WRITTEN:
            for job_id in ids.split():
                yield Happening(kind, job_id, more.get(b":" + job_id))


def read_entry(queue: str, entry: Entry, seal: QueueSeal | None = None) -> list[Event]:
    """All events of an entry; their ids number them from 1."""
    at = from_epoch_ms(min(entry.id.ms, _LAST_MS))
    return [
        Event(
            id=f"{entry.id}.{n}",
            kind=_WRITTEN[one.kind],
            queue=queue,
            job_id=None if one.job_id is None else one.job_id.decode("utf-8", "backslashreplace"),
            at=at,
            facts=_read_facts(one, seal),
        )
        for n, one in enumerate(happenings(entry.fields), 1)
    ]


class Listener:
    """One reader of a queue's events: what to ask next, and what the answers hold. Does no I/O.

    Args:
        since: as `AsyncQueue.events` takes it.
    Raises:
        InvalidOption: a `since` or kind that can't be.
    """

    def __init__(self, keys: Keys, since: object = None, kinds: object = ()) -> None:
        self._keys = keys
        self._cursor = read_since(since)
        self._kinds = check_kinds(kinds)
        self.idle = False
        self.block_after = ""

    def next_call(self) -> Call[Tail]:
        """What follows what was taken; the first one for "from now on" asks where that is."""
        return tail(self._keys, self._cursor)

    def take(self, found: Tail) -> list[Event]:
        """The events that this reader wants; `idle` says whether to wait, and `block_after` for what to."""
        cursor, events = self._cursor, list[Event]()
        if cursor is None:
            cursor = after(found.newest)
        elif found.gap:
            events.append(self._missed(found))
        for entry in found.entries:
            read = read_entry(self._keys.queue, entry, self._keys.seal)
            skip = cursor.skip or 0 if entry.id == cursor.entry else 0
            events += [one for one in read[skip:] if not self._kinds or one.kind in self._kinds]
        self.idle = not found.entries
        self._cursor = moved(cursor, found)
        self.block_after = str(max(self._cursor.entry, found.newest))
        return events

    def _missed(self, found: Tail) -> Event:
        """Its id leads to the first event that is left."""
        oldest = found.entries[0].id if found.entries else found.newest
        id = f"{oldest}.0" if found.entries else str(oldest)
        return Event(id, "missed", self._keys.queue, None, from_epoch_ms(min(oldest.ms, _LAST_MS)), {})


def moved(cursor: Cursor, found: Tail) -> Cursor:
    """The cursor behind what was found."""
    if found.entries:
        return Cursor(found.entries[-1].id)
    return after(found.newest) if found.gap else cursor


def read_since(since: object) -> Cursor | None:
    """Where a reader begins; None is from now on.

    Raises:
        InvalidOption: neither an event's id nor "0", nor an aware datetime.
    """
    if since is None:
        return None
    if isinstance(since, datetime):
        return Cursor(EntryId(to_epoch_ms("since", since), 0), known=False)
    found = _SINCE.fullmatch(since) if isinstance(since, str) else None
    if found is None:
        raise InvalidOption(
            "since", f'since must be the id of an event, "0" for the oldest, or an aware datetime, not {shown(since)}'
        )
    if found[1] is None:
        return BEGINNING
    entry = EntryId(int(found[1]), int(found[2]))
    if entry == BEGINNING.entry:
        return BEGINNING
    return Cursor(entry, None if found[3] is None else int(found[3]))


def check_kinds(kinds: object) -> frozenset[str]:
    """The kinds that are asked for and "missed", which is always told; none for all.

    Raises:
        InvalidOption: names the wrong one.
    """
    if isinstance(kinds, str) or not isinstance(kinds, Collection):
        raise InvalidOption("kinds", f"kinds must be a collection of kinds, not {shown(kinds)}")
    for kind in kinds:
        if not isinstance(kind, str) or kind not in KINDS:
            raise InvalidOption("kinds", f"kinds: {shown(kind)} is none; there are {', '.join(get_args(EventKind))}")
    return frozenset(kinds).union(("missed",)) if kinds else frozenset()


def split_failure(detail: bytes | None) -> tuple[int, bytes]:
    """The attempt of a failed event's detail, and its error as it is stored; TOO_LARGE when it is looked up."""
    attempt, _, error = (detail or b"").partition(b" ")
    return read_count(attempt), error


def read_count(stored: bytes | None) -> int:
    """A count as it is stored; 0 for what is none."""
    return int(stored) if stored is not None and stored.isdigit() and len(stored) <= _LONGEST_COUNT else 0


def _read_facts(one: Happening, seal: QueueSeal | None) -> dict[str, Any]:
    reader = _FACTS.get(one.kind)
    try:
        return {} if reader is None else reader(_open_detail(one, seal))
    except BadSignature as broken:
        return {"error_type": type(broken).__name__, "error": str(broken)}
    except (ValueError, RecursionError, msgspec.MsgspecError):  # not what redqueue wrote
        return {}


def _open_detail(one: Happening, seal: QueueSeal | None) -> bytes | None:
    """The detail with what is sealed in it opened; it stands behind so many other words."""
    purpose, words = _SEALED.get(one.kind, (None, 0))
    if purpose is None or one.detail == TOO_LARGE:
        return one.detail
    job_id = "" if one.job_id is None else one.job_id.decode("utf-8", "backslashreplace")
    *before, text = (one.detail or b"").split(b" ", words)
    if seal is None:
        refuse_sealed(purpose, job_id, text)
        return one.detail
    if text == TOO_LARGE or (one.detail is None and purpose != "result"):
        return one.detail
    return b" ".join((*before, seal.open(purpose, job_id, text)))


def _active(detail: bytes | None) -> dict[str, Any]:
    return {} if detail is None else {"worker": _text(detail)}


def _progress(detail: bytes | None) -> dict[str, Any]:
    if detail is None:
        return {}
    told: Progress = decode(detail, Progress)
    return {"progress": told.done, "message": told.message, "data": msgspec.json.decode(told.data)}


def _completed(detail: bytes | None) -> dict[str, Any]:
    if detail == TOO_LARGE:
        return {}
    return {"result": None if not detail else decode(detail)}


def _failed(detail: bytes | None) -> dict[str, Any]:
    attempt, error = split_failure(detail)
    return {} if detail is None else {"attempt": attempt, **_error(error)}


def _retrying(detail: bytes | None) -> dict[str, Any]:
    if detail is None:
        return {}
    attempt, delay, error = detail.split(b" ", 2)
    return {"attempt": int(attempt), "delay_s": int(delay) / 1000, **_error(error)}


def _delayed(detail: bytes | None) -> dict[str, Any]:
    if detail is None:
        return {}
    delay, _, reason = detail.partition(b" ")
    return {"delay_s": int(delay) / 1000, "reason": _text(reason)}


def _recovered(detail: bytes | None) -> dict[str, Any]:
    return {"crashed": detail == b"crashed"}


def _cancelled(detail: bytes | None) -> dict[str, Any]:
    return {} if detail == TOO_LARGE else {"reason": _text(detail or b"")}


def _error(stored: bytes) -> dict[str, Any]:
    if stored == TOO_LARGE:
        return {}
    facts: ErrorFacts = decode(stored, ErrorFacts)
    return {"error_type": facts.type, "error": facts.message}


def _text(stored: bytes) -> str:
    return stored.decode("utf-8", "replace")


_FACTS: Final[dict[bytes, Callable[[bytes | None], dict[str, Any]]]] = {
    b"active": _active,
    b"progress": _progress,
    b"completed": _completed,
    b"failed": _failed,
    b"retrying": _retrying,
    b"delayed": _delayed,
    b"recovered": _recovered,
    b"cancelled": _cancelled,
}
_SEALED: Final[dict[bytes, tuple[Purpose, int]]] = {
    b"progress": ("progress", 0),
    b"completed": ("result", 0),
    b"failed": ("error", 1),
    b"retrying": ("error", 2),
}
_LAST_MS: Final = 2**42
"""A calendar ends, and an entry made by hand may not."""
