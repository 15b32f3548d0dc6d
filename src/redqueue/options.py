"""What users may pass, and what it becomes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal, TypeAlias, TypedDict, get_args

import msgspec

from redqueue.backoff import Backoff, Exponential, Waits, check_backoff, to_waits
from redqueue.defaults import DEFAULT_CONCURRENCY as DEFAULT_CONCURRENCY
from redqueue.defaults import DEFAULT_GRACE as DEFAULT_GRACE
from redqueue.defaults import DEFAULT_KEPT_COMPLETED, DEFAULT_KEPT_FAILED, MAX_KEPT, MAX_PRIORITY, MAX_RETRIES
from redqueue.defaults import DEFAULT_LEASE as DEFAULT_LEASE
from redqueue.defaults import DEFAULT_PREFIX as DEFAULT_PREFIX
from redqueue.defaults import DEFAULT_RETRIES as DEFAULT_RETRIES
from redqueue.defaults import DEFAULT_UNKNOWN_GRACE as DEFAULT_UNKNOWN_GRACE
from redqueue.defaults import GENERIC_TASK as GENERIC_TASK
from redqueue.defaults import MAX_CRASHES as MAX_CRASHES
from redqueue.defaults import MAX_ERROR_TEXT as MAX_ERROR_TEXT
from redqueue.defaults import MAX_LABEL as MAX_LABEL
from redqueue.defaults import MAX_PAYLOAD as MAX_PAYLOAD
from redqueue.defaults import MAX_TRACEBACK as MAX_TRACEBACK
from redqueue.errors import InvalidName, InvalidOption, Seconds
from redqueue.records import AddAnswer as AddAnswer
from redqueue.records import CancelAnswer as CancelAnswer
from redqueue.records import Durability as Durability
from redqueue.records import State as State
from redqueue.records import Status as Status
from redqueue.rules import Keep
from redqueue.units import LONGEST_MS, shown, to_epoch_ms, to_ms
from redqueue.units import check_int as check_int

DEFAULT_BACKOFF: Final = Exponential()
DEFAULT_KEEP_COMPLETED: Final = Keep(count=DEFAULT_KEPT_COMPLETED)
DEFAULT_KEEP_FAILED: Final = Keep(count=DEFAULT_KEPT_FAILED)

_JOB_ID = re.compile(r"[A-Za-z0-9_.:@-]{1,128}")
_QUEUE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_PREFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")

Parameters = list[Any] | tuple[Any, ...] | Mapping[str, Any]
"""Not Sequence: a str is one and would be taken apart."""


class RunOptions(TypedDict, total=False):
    """Read by the worker: the job's, else the processor's, else the worker's.

    Keys:
        retries: 3 means at most 4 counted runs.
        backoff: the wait between them; a number is the same wait each time.
        timeout: seconds for one run; None means no limit. A processor's also caps its jobs'.
        keep_completed, keep_failed: how finished jobs are kept. On a queue, processor or worker a count, an age or
            both; on a single job 0, or an age of its own that the queue's count doesn't touch.
    """

    retries: int
    backoff: Backoff | Seconds
    timeout: Seconds | None
    keep_completed: int | timedelta | Keep
    keep_failed: int | timedelta | Keep


class JobOptions(RunOptions, total=False):
    """Read when the job is added. None is as if absent.

    Keys:
        job_id: of ``[A-Za-z0-9_.:@-]{1,128}``; adding it again while it is known answers "duplicate".
        delay: seconds until it may run; or ``at``, an aware datetime.
        priority: -1000 first to 1000 last, 0 by default; in order of adding within one.
        lifo: to the front of its priority.
        expires_in: seconds in which it must be started, from when it was added, or from when it is due; else it fails
            as expired. By Redis's clock.
        durability: what the add waits for: "memory", that Redis took it, by default; "replica", that a replica has it,
            too; "fsync", that it is on the disk of the server. Not confirmed within 5 s: NotConfirmed.
    """

    job_id: str | None
    delay: Seconds
    at: datetime | None
    priority: int
    lifo: bool
    expires_in: Seconds | None
    durability: Durability


class TaskOptions(JobOptions, total=False):
    """Options of execute_*: who asked, a mapping for the function (`JobContext.given`), and another queue."""

    sub_account_id: str | None
    user_id: str | None
    context: Mapping[str, Any]
    queue: str


class ProcessorOptions(RunOptions, total=False):
    """What a processor, service method or task may say for its jobs.

    Keys:
        execution: "auto" runs coroutines on the worker's event loop and plain functions in threads; "thread" says the
            same of a plain function; "process" runs either in a child process of the worker, which can be killed.
        retry_on: only these exceptions are retried.
        give_up_on: these fail the job at once.
        expires_in: seconds in which its jobs must be started, from their `created_at`.
    """

    execution: Literal["auto", "thread", "process"]
    retry_on: tuple[type[Exception], ...]
    give_up_on: tuple[type[Exception], ...]
    expires_in: Seconds | None


_Limits: TypeAlias = tuple[
    Annotated[int, msgspec.Meta(ge=-1, le=MAX_KEPT)], Annotated[int, msgspec.Meta(ge=-1, le=LONGEST_MS)]
]


class Given(
    msgspec.Struct,
    frozen=True,
    omit_defaults=True,
    rename={"keep_completed": "kc", "keep_failed": "kf", "timeout_ms": "to", "delay_ms": "d", "at_ms": "at"},
):
    """The options that a job carries in its envelope. Keeps are (count, age in ms), -1 for no limit.

    Decoding refuses what no option may be, whoever wrote it: a negative wait would break the settling of a whole trip.
    `delay_ms` and `at_ms` say when it was first due, for what counts from then.
    """

    retries: Annotated[int, msgspec.Meta(ge=0, le=MAX_RETRIES)] | None = None
    backoff: Waits | None = None
    keep_completed: _Limits | None = None
    keep_failed: _Limits | None = None
    timeout_ms: Annotated[int, msgspec.Meta(ge=1, le=LONGEST_MS)] | None = None
    delay_ms: Annotated[int, msgspec.Meta(ge=0, le=LONGEST_MS)] = 0
    at_ms: Annotated[int, msgspec.Meta(ge=0, le=2**42)] | None = None


NOTHING_GIVEN: Final = Given()


class JobPlan(msgspec.Struct, frozen=True):
    """Checked options of one job: `place` says where it goes, in the words of the add script."""

    job_id: str | None
    place: str
    given: Given
    durability: Durability = "memory"


def plan_job(options: Mapping[str, Any], defaults: Mapping[str, Any]) -> JobPlan:
    """Check one job's options over its queue's defaults.

    Raises:
        InvalidOption, InvalidName: what is wrong, by the option's name.
    """
    if not options and not defaults:
        return _PLAIN
    _refuse_unknown(options, JobOptions)
    _refuse_count_on_a_job(options)
    merged = _over(defaults, {name: value for name, value in options.items() if value is not None})
    job_id = merged.get("job_id")
    durability = _durability(merged)
    return JobPlan(None if job_id is None else check_job_id(job_id), _place(merged), _given(merged), durability)


def check_queue_defaults(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """The defaults of a queue, without what is None.

    Raises:
        InvalidOption: unknown, out of bounds, or ``job_id``, which would make every job the same.
    """
    _refuse_unknown(options, JobOptions)
    defaults = {name: value for name, value in options.items() if value is not None}
    if "job_id" in defaults:
        raise InvalidOption("job_id", "job_id can't be a queue's default: each job has its own")
    _place(defaults)
    _durability(defaults)
    check_run_options(defaults)
    return defaults


def check_run_options(options: Mapping[str, Any]) -> None:
    """Raise InvalidOption for a run option whose value is out of bounds; other names are not looked at."""
    _given(options)


def check_known(options: Mapping[str, Any], shape: type) -> None:
    """Raise InvalidOption for a name that the TypedDict doesn't have."""
    _refuse_unknown(options, shape)


def check_job_id(job_id: object) -> str:
    """The id itself, or InvalidName."""
    if not isinstance(job_id, str) or not _JOB_ID.fullmatch(job_id):
        raise InvalidName(f"a job id is 1 to 128 characters of A-Z a-z 0-9 _ . : @ -, not {shown(job_id)}")
    return job_id


def check_queue_name(name: object) -> str:
    """The name itself, or InvalidName."""
    if not isinstance(name, str) or not _QUEUE_NAME.fullmatch(name):
        raise InvalidName(
            f"a queue name is 1 to 64 characters of A-Z a-z 0-9 _ . -, the first a letter or digit, not {shown(name)}"
        )
    return name


def check_prefix(prefix: object) -> str:
    """The prefix itself, or InvalidName."""
    if not isinstance(prefix, str) or not _PREFIX.fullmatch(prefix):
        raise InvalidName(f"a prefix is 1 to 64 characters of A-Z a-z 0-9 _ . -, not {shown(prefix)}")
    return prefix


_PLAIN: Final = JobPlan(None, "0", NOTHING_GIVEN)


def _over(defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """A job's options over its queue's defaults; whichever of delay and at it gives replaces both."""
    if "delay" in given or "at" in given:
        defaults = {name: value for name, value in defaults.items() if name not in ("delay", "at")}
    return {**defaults, **given}


def _place(options: Mapping[str, Any]) -> str:
    """Where the job goes: ``<priority>``, with `` l`` for lifo, `` d<ms>`` for a delay, `` a<ms>`` for a time.

    Then `` e<ms>``, in which it must be started.
    """
    priority = check_int("priority", options.get("priority", 0), -MAX_PRIORITY, MAX_PRIORITY)
    lifo, delay, at = options.get("lifo", False), options.get("delay"), options.get("at")
    if not isinstance(lifo, bool):
        raise InvalidOption("lifo", f"lifo must be True or False, not {shown(lifo)}")
    if delay is not None and at is not None:
        raise InvalidOption("at", "delay and at contradict each other: give one of them")
    delay_ms = 0 if delay is None else to_ms("delay", delay)
    if lifo and (delay_ms or at is not None):
        raise InvalidOption("lifo", "lifo places a job at the front now, so it takes neither delay nor at")
    expires_in = options.get("expires_in")
    expiry = "" if expires_in is None else f" e{to_ms('expires_in', expires_in, at_least_ms=1)}"
    if at is not None:
        return f"{priority} a{to_epoch_ms('at', at)}{expiry}"
    if delay_ms:
        return f"{priority} d{delay_ms}{expiry}"
    return f"{priority}{' l' if lifo else ''}{expiry}"


def _durability(options: Mapping[str, Any]) -> Durability:
    durability: Durability = options.get("durability", "memory")
    if durability not in get_args(Durability):
        known = ", ".join(repr(one) for one in get_args(Durability))
        raise InvalidOption("durability", f"durability must be one of {known}, not {shown(durability)}")
    return durability


def _given(options: Mapping[str, Any]) -> Given:
    retries, backoff = options.get("retries"), options.get("backoff")
    if retries is not None:
        check_int("retries", retries, 0, MAX_RETRIES)
    waits = None if backoff is None else to_waits("backoff", check_backoff("backoff", backoff), retries)
    completed, failed = _limits("keep_completed", options), _limits("keep_failed", options)
    timeout = options.get("timeout")
    timeout_ms = None if timeout is None else to_ms("timeout", timeout, at_least_ms=1)
    delay, at = options.get("delay"), options.get("at")
    given = Given(
        retries,
        waits,
        completed,
        failed,
        timeout_ms,
        0 if delay is None else to_ms("delay", delay),
        None if at is None else to_epoch_ms("at", at),
    )
    return NOTHING_GIVEN if given == NOTHING_GIVEN else given


def _limits(option: str, options: Mapping[str, Any]) -> tuple[int, int] | None:
    value = options.get(option)
    return None if value is None else Keep.of(option, value).limits


def _refuse_count_on_a_job(options: Mapping[str, Any]) -> None:
    for option in ("keep_completed", "keep_failed"):
        if (value := options.get(option)) is None:
            continue
        keep = Keep.of(option, value)
        if keep.count not in (0, None):
            raise InvalidOption(
                option,
                f"{option} of a single job is 0 or an age (timedelta), not {shown(value)}: "
                "a count belongs to the queue, processor or worker",
            )


def _refuse_unknown(options: Mapping[str, Any], shape: type) -> None:
    for option in options:
        if option not in shape.__annotations__:
            known = ", ".join(sorted(shape.__annotations__))
            raise InvalidOption(option, f"unknown option {shown(option)}; there are: {known}")
