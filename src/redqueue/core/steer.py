"""Steering one job, or the whole queue: cancel, retry, promote, remove, pause, resume."""

from __future__ import annotations

from functools import partial
from typing import Any, Final, cast

from redqueue.core.keys import Keys
from redqueue.core.script import Call, Script, load
from redqueue.errors import InvalidOption, RedisRefused
from redqueue.options import CancelAnswer, check_job_id

CANCEL: Final = load("cancel")
RETRY: Final = load("retry")
PROMOTE: Final = load("promote")
REMOVE: Final = load("remove")
PAUSE: Final = load("pause")

MAX_REASON: Final = 4 * 1024


def cancel(keys: Keys, job_id: str, reason: str = "") -> Call[CancelAnswer]:
    """End a job that waits; ask the worker of one that runs to end it.

    Args:
        reason: at most 4 KiB; of several cancels of a running job the first one's is kept.
    Raises:
        InvalidName, InvalidOption: nothing was sent.
    """

    def read(raw: Any) -> CancelAnswer:
        return cast(CancelAnswer, read_word(CANCEL, raw))

    return CANCEL.call(read, keys, job_id=check_job_id(job_id), reason=_check_reason(reason))


def retry(keys: Keys, job_id: str, *, fresh: bool = True) -> Call[bool]:
    """Run a failed, cancelled or completed job again: at the end of its priority, its kept result removed.

    Args:
        fresh: with all its retries; else the attempts so far count, and the last error stays in its status.
    """
    return RETRY.call(partial(_read_done, RETRY), keys, job_id=check_job_id(job_id), fresh=int(fresh))


def promote(keys: Keys, job_id: str) -> Call[bool]:
    """Run a delayed job now; it keeps its priority, and a snoozed one its place."""
    return PROMOTE.call(partial(_read_done, PROMOTE), keys, job_id=check_job_id(job_id))


def remove(keys: Keys, job_id: str, *, force: bool = False) -> Call[bool]:
    """Remove a job with all that is kept of it. False: it isn't known, or it runs.

    Args:
        force: remove it while it runs, too; the run goes on, and its outcome is not recorded.
    """

    def read(raw: Any) -> bool:
        return read_count(REMOVE, raw) == 1

    return REMOVE.call(read, keys, job_ids=[check_job_id(job_id)], expected="", force=int(force))


def pause(keys: Keys) -> Call[None]:
    """No job is claimed any more; what runs, goes on."""
    return _set_paused(keys, 1)


def resume(keys: Keys) -> Call[None]:
    """Jobs are claimed again; an idle worker is woken."""
    return _set_paused(keys, 0)


def read_word(script: Script, raw: Any) -> str:
    """The word that a numbered call is answered with.

    Raises:
        RedisRefused: a later call of the same lane was carried out, and this one therefore not.
    """
    word: str = script.reply(raw).word.decode()
    if word == "stale":
        raise RedisRefused("a later call of the same producer lane was carried out before: two producers share a lane")
    return word


def read_count(script: Script, raw: Any) -> int:
    """The same, when the word is a number."""
    return int(read_word(script, raw))


def _read_done(script: Script, raw: Any) -> bool:
    return read_word(script, raw) == "done"


def _set_paused(keys: Keys, paused: int) -> Call[None]:
    def read(raw: Any) -> None:
        read_word(PAUSE, raw)

    return PAUSE.call(read, keys, paused=paused)


def _check_reason(reason: object) -> bytes:
    if isinstance(reason, str):
        encoded = reason.encode("utf-8", "backslashreplace")
        if len(encoded) <= MAX_REASON:
            return encoded
    raise InvalidOption("reason", f"reason must be text of at most {MAX_REASON:,} bytes")
