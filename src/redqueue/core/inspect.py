"""Reading what is stored: a job's status and data, a queue's numbers, a page of jobs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import islice, zip_longest
from typing import Any, Final, NamedTuple, TypeVar, get_args

import msgspec

from redqueue.core.bombs import decode
from redqueue.core.codec import Head, open_envelope
from redqueue.core.keys import Keys
from redqueue.core.lease import ErrorFacts
from redqueue.core.report import Progress
from redqueue.core.script import Call, load
from redqueue.core.seal import QueueSeal, refuse_sealed
from redqueue.errors import BadSignature, CorruptEnvelope, InvalidArguments, InvalidOption
from redqueue.options import State, Status, check_job_id
from redqueue.records import JobStatus, QueueStats
from redqueue.units import check_int, from_epoch_ms

STATUS: Final = load("status")
PAGE: Final = load("page")
DATA: Final = load("data")
STATS: Final = load("stats")
LOGS: Final = load("logs")

MOST_A_PAGE: Final = 1000
MOST_LINES: Final = 1000
FINISHED: Final = frozenset(("completed", "failed", "cancelled"))

_STATUSES: Final[dict[State, Status]] = {"waiting": "pending", "delayed": "pending", "active": "processing"}
_OUTCOME: Final[tuple[str, ...]] = ("result", "error", "reason", "attempt", "started", "finished", "worker", "progress")
_UNKNOWN: Final = Head("?", "", 0)
_UNTOLD: Final = Progress(None, None)

T = TypeVar("T")


def get_status(keys: Keys, job_id: str) -> Call[JobStatus | None]:
    """One job as it stands; None when it was never added, or is no longer kept."""

    def read(raw: Any) -> JobStatus | None:
        reply = STATUS.reply(raw)
        return None if reply.state is None else _jobs(keys, reply)[0]

    return STATUS.call(read, keys, job_id=check_job_id(job_id), outcome_fields=_OUTCOME)


def jobs(keys: Keys, state: State, start: int = 0, count: int = 50, *, newest: bool = True) -> Call[list[JobStatus]]:
    """One page of a state, at most 1,000 jobs, each with its result.

    A page is shorter when its results are large: it ends after the one with which they exceed 4 MiB. The next one
    begins at `start` plus the page's length.

    A state has an order of its own: waiting jobs the one in which they are claimed, delayed ones their due times,
    active ones their leases, finished ones the times at which they finished; those that are kept for an age of their
    own come last.

    Args:
        newest: begin at that order's end.
    Raises:
        InvalidOption: nothing was sent.
    """

    def read(raw: Any) -> list[JobStatus]:
        return _jobs(keys, PAGE.reply(raw))

    return page(keys, state, start, count, newest=newest, read=read)


def page(
    keys: Keys,
    state: State,
    start: int,
    count: int,
    *,
    newest: bool,
    read: Callable[[Any], T],
    outcome_fields: Sequence[str] = _OUTCOME,
) -> Call[T]:
    """The call behind `jobs`, for another reader; without fields of outcomes no page is shortened."""
    return PAGE.call(
        read,
        keys,
        wanted=check_state(state),
        start=check_int("start", start, 0, 2**40),
        count=check_int("count", count, 1, MOST_A_PAGE),
        newest=int(newest),
        outcome_fields=outcome_fields,
    )


def get_data(keys: Keys, job_id: str, type: Any = Any) -> Call[Any]:
    """The payload, decoded into `type`; None when there is no such job.

    Raises, when the answer is read:
        InvalidArguments: the payload doesn't fit the type; the message names the path, never the value.
        CorruptEnvelope: what is stored is not a job of redqueue's.
        BadSignature: it was not sealed for this job by a key of ours.
    """
    job_id = check_job_id(job_id)

    def read(raw: Any) -> Any:
        stored = DATA.reply(raw).envelope
        if stored is None:
            return None
        if keys.seal is not None:
            stored = keys.seal.open_envelope(job_id, stored)
        return _decode(job_id, open_envelope(job_id, stored).data, type)

    return DATA.call(read, keys, job_id=job_id)


def get_logs(keys: Keys, job_id: str, start: int = 0, count: int = 100) -> Call[list[str]]:
    """Lines that a job's runs logged, the oldest first; none for a job that isn't known."""
    log = keys.log(check_job_id(job_id))

    def read(raw: Any) -> list[str]:
        lines = LOGS.reply(raw).lines
        if keys.seal is not None:
            lines = [keys.seal.open("log", job_id, line) for line in lines]
        for line in lines:
            refuse_sealed("log", job_id, line)
        return [line.decode("utf-8", "replace") for line in lines]

    return LOGS.call(
        read,
        keys,
        log=log,
        start=check_int("start", start, 0, 2**31),
        count=check_int("count", count, 1, MOST_LINES),
    )


def get_stats(keys: Keys) -> Call[QueueStats]:
    """The queue in numbers."""

    def read(raw: Any) -> QueueStats:
        reply = STATS.reply(raw)
        succeeded, failed, cancelled = (int(total or 0) for total in reply.totals)
        return QueueStats(
            waiting=reply.waiting,
            active=reply.active,
            succeeded=succeeded,
            failed=failed,
            delayed=reply.delayed,
            cancelled=cancelled,
            kept_completed=reply.kept_completed,
            kept_failed=reply.kept_failed,
            paused=reply.paused == 1,
            oldest_waiting_s=_age_s(reply.first, reply.now),
            workers=reply.workers,
        )

    return STATS.call(read, keys)


def check_state(state: object) -> State:
    """The state itself, or InvalidOption."""
    if state not in get_args(State):
        raise InvalidOption("state", f"state must be one of {', '.join(get_args(State))}, not {state!r}")
    return state  # type: ignore[return-value]  # what get_args found


def read_head(stored: bytes) -> Head | None:
    """The head of an envelope; None when it is corrupt."""
    try:
        return open_envelope("", stored).head
    except CorruptEnvelope:
        return None


class _Row(NamedTuple):
    """What the scripts tell of one job."""

    id: bytes
    head: bytes
    spot: Any
    claimed: bytes | None
    worker: bytes | None
    tried: bytes | None
    noted: bytes | None
    told: bytes | None
    outcome: list[bytes | None] | None


def _jobs(keys: Keys, reply: Any) -> list[JobStatus]:
    columns = (reply.ids, reply.heads, reply.spots, reply.claimed, reply.workers)
    rows = islice(zip_longest(*columns, reply.tried, reply.noted, reply.told, reply.outcomes), len(reply.ids))
    return [_status(keys, reply.state.decode(), _Row(*row)) for row in rows]


def _status(keys: Keys, state: State, row: _Row) -> JobStatus:
    head = read_head(row.head)
    outcome = dict(zip(_OUTCOME, row.outcome or (), strict=False))
    finished = state in FINISHED
    told, error, result = _read_texts(keys.seal, state, row, outcome)
    if error is None and head is None:
        error = ErrorFacts("CorruptEnvelope", "corrupt envelope")
    head = head or _UNKNOWN
    return JobStatus(
        job_id=row.id.decode("utf-8", "backslashreplace"),
        queue=keys.queue,
        job_type=head.job_type,
        label=head.label,
        status=_STATUSES.get(state, state),  # type: ignore[arg-type]  # the other states are called like their status
        state=state,
        position=row.spot if state == "waiting" else None,
        attempts=_whole(outcome.get("attempt")) if finished else _whole((row.tried or b"0").split(b" ")[0]),
        progress=told.done if told.done is not None or state != "completed" else 1.0,
        message=_message(state, row.noted, outcome, told),
        result=result,
        error=None if error is None else f"{error.type}: {error.message}",
        traceback=None if error is None else error.traceback or None,
        worker=_text(outcome.get("worker") if finished else row.worker),
        created_at=_time(head.created_ms) or from_epoch_ms(0),
        due_at=_time(row.spot) if state == "delayed" else None,
        started_at=_time(outcome.get("started") if finished else row.claimed),
        completed_at=_time(outcome.get("finished")) if finished else None,
        sub_account_id=head.sub_account_id,
        user_id=head.user_id,
    )


class _Texts(NamedTuple):
    told: Progress
    error: ErrorFacts | None
    result: Any


def _read_texts(seal: QueueSeal | None, state: State, row: _Row, outcome: Mapping[Any, bytes | None]) -> _Texts:
    """What the runs said. Where a seal is broken its error stands in place of it all: one job must not hide others."""
    job_id = row.id.decode("utf-8", "backslashreplace")
    told = outcome.get("progress") if state in FINISHED else row.told
    error, result = outcome.get("error"), outcome.get("result")
    try:
        if seal is not None:
            told = None if told is None else seal.open("progress", job_id, told, row.head)
            error = None if error is None else seal.open("error", job_id, error, row.head)
            if state == "completed":
                result = seal.open("result", job_id, result, row.head)
        return _Texts(read_progress(told), read_error(error), _read_result(result))
    except BadSignature as broken:
        return _Texts(_UNTOLD, ErrorFacts(type(broken).__name__, str(broken)), None)


def _message(state: State, noted: bytes | None, outcome: Mapping[Any, bytes | None], told: Progress) -> str | None:
    """Why it was cancelled, or why it waits; else what its run told."""
    if state in FINISHED:
        return _text(outcome.get("reason")) or told.message
    if state == "active":
        return told.message
    return None if noted is None else _text(noted.partition(b" ")[2])


def _whole(stored: Any) -> int:
    try:
        return int(float(stored or 0))  # Lua writes some of its numbers as 1.79e+12
    except (ValueError, OverflowError):  # not what redqueue wrote
        return 0


def _time(stored: Any) -> datetime | None:
    try:
        return None if stored is None else from_epoch_ms(_whole(stored))
    except (ValueError, OverflowError, OSError):  # beyond the calendar
        return None


def _text(stored: bytes | None) -> str | None:
    return stored.decode("utf-8", "replace") if stored else None


def _read_result(stored: bytes | None) -> Any:
    try:
        return decode(stored) if stored else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        refuse_sealed("result", "", stored)
        return None


def read_error(stored: bytes | None) -> ErrorFacts | None:
    """The error of an outcome; what can't be read is its message."""
    if stored is None:
        return None
    try:
        facts: ErrorFacts = decode(stored, ErrorFacts)
        return facts
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        refuse_sealed("error", "", stored)
        return ErrorFacts("Error", stored.decode("utf-8", "replace"))


def read_progress(stored: bytes | None) -> Progress:
    """What a run told last; nothing when what is stored can't be read."""
    try:
        return _UNTOLD if stored is None else decode(stored, Progress)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        refuse_sealed("progress", "", stored)
        return _UNTOLD


def _age_s(first: bytes | None, now_ms: int) -> float | None:
    head = None if first is None else read_head(first)
    return None if head is None else max(now_ms - head.created_ms, 0) / 1000


def _decode(job_id: str, data: bytes, type: Any) -> Any:
    try:
        return decode(data, type, _validate)
    except msgspec.ValidationError as error:
        raise InvalidArguments(f"the data of job {job_id} does not fit: {_without_value(error)}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        refuse_sealed("data", job_id, data)
        raise CorruptEnvelope(f"job {job_id}: its data can't be read: {error}") from error


def _validate(type: Any, value: Any) -> Any:
    """Decode what msgspec doesn't know: pydantic models, recognised without importing pydantic."""
    validate = getattr(type, "model_validate", None)
    if validate is None:
        raise NotImplementedError(f"data can't be decoded into {type!r}")
    try:
        return validate(value)
    except ValueError as error:
        first = error.errors()[0]  # type: ignore[attr-defined]  # pydantic's ValidationError
        path = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"Expected `{type.__name__}`: {first['type']} at {path or 'its root'}") from None


_VALUE: Final = re.compile(r"^(Invalid (?:enum )?value) .*?( - at `[^`]*`)?$", re.DOTALL)


def _without_value(error: msgspec.ValidationError) -> str:
    return _VALUE.sub(lambda found: found[1] + (found[2] or ""), str(error))
