"""What Redis holds of a queue and what the model says it should hold, in one form, to be compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tests.protocol.driver import Wire

    from redqueue.testing.model import Model
    from redqueue.testing.model_parts import Job, Session

View = dict[str, dict[str, Any]]

_EVERYTHING: Final = """\
local readers = {string = {'GET'}, hash = {'HGETALL'}, list = {'LRANGE', 0, -1}, zset = {'ZRANGE', 0, -1, 'WITHSCORES'}}
local found = {}
for _, key in ipairs(redis.call('KEYS', ARGV[1] .. '*')) do
  local reader = readers[redis.call('TYPE', key).ok]
  if reader then found[#found + 1] = {key, redis.call(reader[1], key, unpack(reader, 2))} end
end
return found
"""
_SENTINEL: Final = "redqueue sentinel"
_PLACES: Final = ("waiting", "delayed", "active", "completed", "failed", "cancelled")
_NUMBERS: Final = frozenset(("attempt", "priority", "started", "finished", "seen", "lease"))
_FACTS: Final = frozenset(("worker", "host", "pid", "lease", "seen", "left"))


# Of the server

_UNMODELLED: Final = frozenset(("events", "inbox"))
"""What decides nothing."""


def stored(wire: Wire) -> View:
    """What Redis holds, in one look; keys that are not there are not in it."""
    view: View = {}
    for key, value in wire.client.eval(_EVERYTHING, 0, wire.keys.base):
        name, _, member = key.decode().removeprefix(wire.keys.base).partition(":")
        if name in _UNMODELLED:
            continue
        if member:
            view.setdefault(name, {})[member] = _member(name, value)
        elif name == "wake":
            view[name] = {"tokens": len(value)}
        else:
            view[name] = _fixed(name, _pairs(value))
    return {name: found for name, found in view.items() if found}


def _member(name: str, value: Any) -> Any:
    if name == "job":
        return value
    if name == "log":
        return [line.decode() for line in value]
    if name == "producer":
        number, word, *_ = value.decode().split(" ")  # behind an add's letters stands a position
        return (int(number), word)
    fields = _pairs(value)
    if name == "session":
        return {one: _session_field(one, text) for one, text in fields.items()}
    return {one: _whole(text) if one in _NUMBERS else text for one, text in fields.items()}


def _session_field(name: str, text: str) -> Any:
    if name in _FACTS:
        return _whole(text) if name in _NUMBERS else text
    head, _, ids = text.partition("|")
    number, *answered = head.split(" ")
    if not answered:
        return (int(number), [place for span in ids.split() for place in _places(span)])
    words, told, fence = answered
    return (int(number), words, told, int(fence), ids.split())


def _places(span: str) -> list[tuple[int, int]]:
    """What a worker has not started, number and position each, of `number:first-last`."""
    number, _, positions = span.partition(":")
    first, _, last = positions.partition("-")
    return [(int(number), position) for position in range(int(first), int(last) + 1)]


def _fixed(name: str, pairs: Mapping[str, str]) -> dict[str, Any]:
    readers: dict[str, Callable[[str], Any]] = {
        "leases": _lease,
        "tries": _tries,
        "notes": _note,
        "parked": _parked,
        "cancels": str,
        "progress": str,
        "states": str,
    }
    if name == "meta":
        return {one: text if one == "keep" else _whole(text) for one, text in pairs.items()}
    reader = readers.get(name, _whole)
    return {id: reader(text) for id, text in pairs.items() if not id.startswith(_SENTINEL)}


def _lease(text: str) -> tuple[Any, ...]:
    token, order, claimed, position, mark = text.split(" ")
    return (token, _whole(order), int(claimed), int(position), mark)


def _tries(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(" "))


def _note(text: str) -> tuple[int, str]:
    since, _, why = text.partition(" ")
    return (int(since), why)


def _parked(text: str) -> str:
    return f"{text[0]}{_whole(text[1:])}"


def _whole(text: str) -> int:
    return int(text) if text.lstrip("-").isdigit() else int(float(text))


def _pairs(flat: list[bytes]) -> dict[str, str]:
    texts = [one.decode() for one in flat]
    return dict(zip(texts[::2], texts[1::2], strict=True))


# Of the model


def expected(model: Model) -> View:
    """What Redis should hold."""
    jobs = model.jobs.values()
    view: View = {state: {job.id: job.score for job in jobs if job.state == state} for state in _PLACES}
    view |= {
        "job": {job.id: job.envelope for job in jobs},
        "outcome": {job.id: job.outcome for job in jobs if job.outcome},
        "leases": {job.id: job.lease.text() for job in jobs if job.lease},
        "tries": {job.id: job.tries for job in jobs if any(job.tries)},
        "notes": {job.id: job.note for job in jobs if job.note},
        "parked": {job.id: job.parked for job in jobs if job.parked},
        "cancels": {job.id: job.cancel for job in jobs if job.cancel is not None},
        "expiring": {job.id: job.expires for job in jobs if job.expires is not None},
        "expires": {job.id: job.start_by for job in jobs if job.start_by is not None},
        "progress": {job.id: job.progress for job in jobs if job.progress is not None},
        "states": {job.id: job.saved for job in jobs if job.saved is not None},
        "logged": {job.id: len(job.lines) for job in jobs if job.lines},
        "log": {job.id: job.lines for job in jobs if job.lines},
        "sessions": dict(model.seen),
        "session": {name: _session(session) for name, session in model.sessions.items()},
        "producer": dict(model.producers),
        "meta": dict(model.meta),
        "wake": {"tokens": 1} if model.token else {},
    }
    return {name: found for name, found in view.items() if found}


def _session(session: Session) -> dict[str, Any]:
    unstarted = {"u": session.unstarted} if session.unstarted else {}
    lanes = {name: (*lane[:-1], list(lane.ids)) for name, lane in session.lanes.items()}
    return {**session.facts, **lanes, **unstarted}


def findings(model: Model) -> list[str]:
    """What an audit should say: only what a clock that jumped, or a worker that does nothing, leaves until a scan."""
    lease, seen, hold = model.lease, model.meta.get("seen", 0), model.meta.get("hold", 0)
    recovering = hold <= model.now and model.now - seen <= lease / 2
    found: list[str] = []
    for job in model.jobs.values():
        if job.state == "active" and job.score > model.now + 2 * lease:
            found.append(f"active {job.id}: its deadline is more than two leases away")
        if job.state == "active" and job.score < model.now - lease and recovering:
            found.append(f"active {job.id}: its lease ended long ago, and nobody recovers it")
    if seen > model.now:
        found.append("meta: seen is in the future")
    if hold > model.now + lease / 2:
        found.append("meta: hold is more than half a lease away")
    if _asleep(model, lease):
        found.append("waiting: jobs wait, and the workers are asleep")
    return sorted(found)


def _asleep(model: Model, lease: int) -> bool:
    waiting: list[Job] = model.jobs_in("waiting")
    workers = any(at >= model.now - 2 * lease for at in model.seen.values())
    busy = model.token or model.paused or model.jobs_in("active")
    return bool(waiting) and workers and not busy and model.now - waiting[0].created >= 10_000


# Of both


def differences(found: View, wanted: View) -> list[str]:
    """What is not as it should be, a line each."""
    lines: list[str] = []
    for name in sorted({*found, *wanted}):
        ours, theirs = found.get(name, {}), wanted.get(name, {})
        lines += [
            f"{name} {member}: stored {ours.get(member)}, expected {theirs.get(member)}"
            for member in sorted({*ours, *theirs})
            if ours.get(member) != theirs.get(member)
        ]
    return lines
