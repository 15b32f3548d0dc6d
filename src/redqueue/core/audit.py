"""Looking for what must not be: the invariants of a stored queue, read-only, on a queue at work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, get_args

import msgspec

from redqueue.core.codec import FORMAT
from redqueue.core.inspect import read_head
from redqueue.core.keys import FIXED, Keys
from redqueue.core.script import Call, Script, Steps, load
from redqueue.defaults import MAX_CRASHES, MAX_PRIORITY
from redqueue.options import State

PLACES: Final = load("audit_places")
FIELDS: Final = load("audit_fields")
KEYS: Final = load("audit_keys")
FACTS: Final = load("audit_facts")

_FIELD_KEYS: Final = (
    "leases",
    "tries",
    "notes",
    "cancels",
    "parked",
    "expires",
    "progress",
    "states",
    "logged",
    "expiring",
    "sessions",
)
_BEGIN: Final = b"0"
_ASLEEP_MS: Final = 10_000
"""An idle worker looks every 5 s by itself."""


class _Page(msgspec.Struct, frozen=True):
    """What one look found: lines, whom they are about, and where the next look begins."""

    lines: list[str]
    suspects: list[bytes]
    cursor: bytes


def audit(keys: Keys) -> Steps[list[str]]:
    """What is inconsistent, a line each, with the id and the key; empty when sound.

    A finding is reported when a second look finds it again. Cost: a round trip for each 1,000 jobs, kept ones
    included, and for each 500 keys of the whole database.
    """
    found: list[str] = []
    for state in get_args(State):
        found += yield from _look_through(keys, PLACES, wanted=state, most_priority=MAX_PRIORITY)
    for name in _FIELD_KEYS:
        options = {"most_priority": MAX_PRIORITY, "max_crashes": MAX_CRASHES}
        found += yield from _look_through(keys, FIELDS, wanted=name, **options)
    found += yield from _look_through(keys, KEYS, known=FIXED)
    found += yield from _look_at_facts(keys)
    return found


def _look_through(keys: Keys, script: Script, **named: Any) -> Steps[list[str]]:
    found: dict[str, None] = {}
    cursor = _BEGIN
    while True:
        page = yield _look(keys, script, cursor, (), named)
        if page.suspects:
            again = yield _look(keys, script, cursor, list(dict.fromkeys(page.suspects))[:1000], named)
            found.update(dict.fromkeys(line for line in page.lines if line in again.lines))
        cursor = page.cursor
        if cursor == _BEGIN:
            return list(found)


def _look_at_facts(keys: Keys) -> Steps[list[str]]:
    first = yield _look(keys, FACTS, _BEGIN, (), {"format": FORMAT}, _idle)
    if not first.lines:
        return []
    again = yield _look(keys, FACTS, _BEGIN, (), {"format": FORMAT}, _idle)
    return [line for line in first.lines if line in again.lines]


def _look(
    keys: Keys,
    script: Script,
    cursor: bytes,
    again: Sequence[bytes],
    named: dict[str, Any],
    judge: Callable[[Any], list[str]] = lambda reply: [],
) -> Call[_Page]:
    def read(raw: Any) -> _Page:
        reply = script.reply(raw)
        return _Page([_printable(line) for line in reply.lines] + judge(reply), reply.suspects, reply.cursor)

    return script.call(read, keys, cursor=cursor, again=again, **named)


def _idle(reply: Any) -> list[str]:
    """Workers live, nothing runs and no token is out: nobody will claim what waits, if it has waited for a while."""
    head = None if reply.idle is None else read_head(reply.idle)
    if head is None or reply.now - head.created_ms < _ASLEEP_MS:
        return []
    return ["waiting: jobs wait, and the workers are asleep"]


def _printable(line: bytes) -> str:
    text = line.decode("utf-8", "backslashreplace")
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)
