"""Removing many jobs: drain, clean, obliterate. Each is at most 1,000 jobs a round trip."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from redqueue.core.inspect import PAGE, check_state, page, read_head
from redqueue.core.keys import Keys
from redqueue.core.script import Call, Steps, load
from redqueue.core.steer import REMOVE, read_count, read_word
from redqueue.errors import InvalidOption, Seconds
from redqueue.options import State
from redqueue.units import check_int, to_ms

SWEEP: Final = load("sweep")
OBLITERATE: Final = load("obliterate")

MOST_A_CALL: Final = 1000
_MOST_CLEANED: Final = 10_000_000


def drain(keys: Keys, *, delayed: bool = False) -> Steps[int]:
    """Remove what waits, and with `delayed` what is delayed, too. Answers how many jobs; totals stay."""
    removed = 0
    states: tuple[State, ...] = ("waiting", "delayed") if delayed else ("waiting",)
    for state in states:
        removed += yield from _sweep(keys, state, 0, None)
    return removed


def clean(keys: Keys, state: State, *, older_than: Seconds = 0, limit: int = 1000) -> Steps[int]:
    """Remove the oldest jobs of a state, at most `limit`. Answers how many.

    Args:
        older_than: seconds since a finished job finished, or since a waiting or delayed one was added, by its
            producer's clock. 0 takes also those that are kept for an age of their own.
    Raises:
        InvalidOption: nothing was sent; active jobs can't be cleaned.
    """
    age = to_ms("older_than", older_than)
    check_int("limit", limit, 1, _MOST_CLEANED)
    if check_state(state) == "active":
        raise InvalidOption("state", "active jobs can't be cleaned: cancel them first")
    if state in ("waiting", "delayed") and age > 0:
        return (yield from _clean_by_creation(keys, state, age, limit))
    return (yield from _sweep(keys, state, age, limit))


def obliterate(keys: Keys, *, force: bool = False) -> Steps[int]:
    """Remove the whole queue. Answers how many jobs it had. It is paused from the first round trip on.

    Args:
        force: although jobs run; their runs go on, and their outcomes are not recorded.
    Raises:
        InvalidOption: jobs run, and force is not set; nothing was removed.
    """
    removed = 0
    while (word := (yield _obliterate(keys, force))) != "gone":
        if word == "active":
            raise InvalidOption(
                "force", f"queue {keys.queue} has active jobs: stop its workers first, or obliterate it with force=True"
            )
        removed += int(word)
    return removed


def _sweep(keys: Keys, state: State, age: int, limit: int | None) -> Steps[int]:
    removed = 0
    while limit is None or removed < limit:
        n = MOST_A_CALL if limit is None else min(MOST_A_CALL, limit - removed)
        count = yield SWEEP.call(partial(read_count, SWEEP), keys, wanted=state, older=age, n=n)
        removed += count
        if count < n:
            break
    return removed


def _clean_by_creation(keys: Keys, state: State, age: int, limit: int) -> Steps[int]:
    removed = start = 0
    while removed < limit:
        read = partial(_read_old, age)
        ids, old = yield page(keys, state, start, MOST_A_CALL, newest=False, read=read, outcome_fields=())
        old = old[: limit - removed]
        count = (yield _remove(keys, old, state)) if old else 0
        removed += count
        start += ids - count
        if ids < MOST_A_CALL:
            break
    return removed


def _read_old(age: int, raw: Any) -> tuple[int, list[bytes]]:
    """How many jobs a page has, and the ids of the old ones; a corrupt one has no age."""
    reply = PAGE.reply(raw)
    heads = zip(reply.ids, map(read_head, reply.heads), strict=True)
    return len(reply.ids), [id for id, head in heads if head is not None and head.created_ms <= reply.now - age]


def _remove(keys: Keys, ids: list[bytes], state: State) -> Call[int]:
    return REMOVE.call(partial(read_count, REMOVE), keys, job_ids=ids, expected=state, force=0)


def _obliterate(keys: Keys, force: bool) -> Call[str]:
    return OBLITERATE.call(partial(read_word, OBLITERATE), keys, force=int(force))
