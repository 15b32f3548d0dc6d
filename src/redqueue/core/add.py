"""Storing jobs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from redqueue.core.codec import FORMAT, encode_data, make_head, seal
from redqueue.core.durability import Confirmation, not_confirmed, strongest
from redqueue.core.keys import Keys
from redqueue.core.script import Call, Steps, load
from redqueue.errors import InvalidName, RedisRefused
from redqueue.options import AddAnswer, Durability, plan_job

ADD: Final = load("add")
MOST_A_CALL: Final = 1000
MOST_BYTES: Final = 4 * 1024 * 1024


class NewJob(msgspec.Struct, frozen=True, gc=False):
    """One job, checked and encoded: nothing about it can be refused any more but by Redis.

    `read` makes of its result what its adder was promised; None: nothing was.
    """

    id: str
    job_type: str
    place: str
    envelope: bytes
    read: Callable[[Any], Any] | None = None
    durability: Durability = "memory"


class Stored(NamedTuple):
    """What an add did with one job.

    `position`: of a created one the id of an event before all that becomes of it. `confirmed`: what Redis said that the
    job survives.
    """

    answer: AddAnswer
    position: str
    confirmed: Durability = "memory"


def prepare(
    job_type: str,
    data: object,
    options: Mapping[str, Any],
    defaults: Mapping[str, Any],
    *,
    created_ms: int,
    fresh_id: str,
    label: str = "",
    sub_account_id: str | None = None,
    user_id: str | None = None,
) -> NewJob:
    """Check one job and encode it.

    Args:
        options: of the job; `defaults` are its queue's.
        created_ms: the producer's clock.
        fresh_id: the id when the options give none.
    Raises:
        BadInput: what is wrong; nothing was sent.
    """
    plan = plan_job(options, defaults)
    head = make_head(
        check_job_type(job_type),
        label,
        created_ms,
        data,
        plan.given,
        sub_account_id=sub_account_id,
        user_id=user_id,
    )
    envelope = seal(head, encode_data(data))
    return NewJob(plan.job_id or fresh_id, job_type, plan.place, envelope, durability=plan.durability)


def add(keys: Keys, jobs: Sequence[NewJob]) -> Call[list[Stored]]:
    """Store at most 1,000 jobs: all of them, or none when Redis refuses. Answers come in the order of the jobs.

    The call waits for the most that one of them asks for.
    """
    seal, durability = keys.seal, strongest({one.durability for one in jobs})

    def read_confirmed(confirmation: Confirmation) -> list[Stored]:
        stored = _read(confirmation.answer)
        if not confirmation.given:
            asking = tuple(one.id for one in jobs if one.durability != "memory")
            raise not_confirmed(durability, asking, confirmation.why)
        return [one._replace(confirmed=durability) for one in stored]

    call = ADD.call(
        _read if durability == "memory" else read_confirmed,
        keys,
        format=FORMAT,
        jobs=[keys.job(one.id) for one in jobs],
        job_ids=[one.id for one in jobs],
        envelopes=[one.envelope if seal is None else seal.close_envelope(one.id, one.envelope) for one in jobs],
        places=[one.place for one in jobs],
    )
    return call if durability == "memory" else dataclasses.replace(call, durability=durability)


def add_many(keys: Keys, jobs: Sequence[NewJob]) -> Steps[list[Stored]]:
    """Store any number of jobs, in order, at most 1,000 or about 4 MiB a call."""
    answers: list[Stored] = []
    start = size = 0
    for n, job in enumerate(jobs):
        size += len(job.envelope)
        if n - start == MOST_A_CALL - 1 or size > MOST_BYTES:
            answers += yield add(keys, jobs[start : n + 1])
            start, size = n + 1, 0
    if start < len(jobs):
        answers += yield add(keys, jobs[start:])
    return answers


def check_job_type(job_type: object) -> str:
    """The job type itself, or InvalidName."""
    if not isinstance(job_type, str) or not 1 <= len(job_type) <= 128 or not job_type.isprintable():
        raise InvalidName(f"a job type is 1 to 128 printable characters, not {ascii(job_type)[:80]}")
    return job_type


def _read(raw: Any) -> list[Stored]:
    word = ADD.reply(raw).word
    if word == b"format":
        raise RedisRefused(
            f"the queue is stored in another format than this release's ({FORMAT}): "
            "upgrade redqueue here, or use another queue name or prefix"
        )
    if word == b"stale":
        raise RedisRefused("a later call of the same producer lane was carried out before: two producers share a lane")
    letters, _, position = word.decode().partition(" ")
    told = {"c": Stored("created", position), "d": Stored("duplicate", "")}
    return [told[letter] for letter in letters]
