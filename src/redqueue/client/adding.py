"""From what a caller hands to `add` to jobs that are ready to be sent: names looked up, ids drawn, all checked."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from redqueue.client.ids import fresh_ids, now_ms
from redqueue.client.reading import reader_of
from redqueue.core.add import NewJob, prepare
from redqueue.core.codec import encode_data
from redqueue.core.generic import GenericTask
from redqueue.errors import InvalidArguments, InvalidOption
from redqueue.records import JobToAdd
from redqueue.registry import ServiceRegistry, job_type_of
from redqueue.registry.around import options_view, pass_through
from redqueue.registry.decoding import Decode, decoder_of
from redqueue.shapes import GenericTaskJobData, JobData


class Before:
    """The middlewares that a queue's jobs pass before they are added: its registry's, else the application's."""

    __slots__ = ("_queue", "registry")

    def __init__(self, queue: str) -> None:
        self._queue = queue
        self.registry: ServiceRegistry | None = None

    def change(self, job_type: str, data: object, options: Mapping[str, Any]) -> tuple[str, object, Mapping[str, Any]]:
        """Job type, data and options as they leave the last one."""
        registry = self.registry or ServiceRegistry.instance_if_any()
        if registry is None or not registry.before_add:
            return job_type, data, options
        job = pass_through(registry.before_add, JobToAdd(self._queue, job_type, data, options_view(options)))
        return job.job_type, job.data, job.options


def new_job(
    job_type: object, data: object, options: Mapping[str, Any], defaults: Mapping[str, Any], before: Before
) -> NewJob:
    """One job, of a job type, a JobData or a registered processor.

    Raises:
        BadInput: what is wrong; nothing was sent.
        NotRegistered: the function is no registered processor.
        RegistrationError: a middleware returned no job; and whatever one raises.
    """
    name, payload, options = before.change(*_named(job_type, data), options)
    _check_shape(payload)
    prepared = prepare(name, payload, options, defaults, created_ms=now_ms(), fresh_id=fresh_ids(1)[0])
    return prepared if isinstance(job_type, str) else _promising(prepared, job_type)


def new_jobs(
    jobs: Iterable[Any], options: Mapping[str, Any], defaults: Mapping[str, Any], before: Before
) -> list[NewJob]:
    """Many jobs, each with options of its own over the common ones; all of them checked before this returns.

    Raises:
        BadInput: what is wrong, with a note that says in which job; nothing was sent. So with what a middleware raises.
    """
    if options.get("job_id") is not None:
        raise InvalidOption("job_id", "job_id can't be common to many jobs: give each its own, or none")
    items = list(jobs)
    created_ms, prepared = now_ms(), []
    for n, (item, fresh_id) in enumerate(zip(items, fresh_ids(len(items)), strict=True)):
        try:
            job_type, data, own = _taken_apart(item)
            name, payload = _named(job_type, data)
            name, payload, both = before.change(name, payload, _over(options, own))
            _check_shape(payload)
            job = prepare(name, payload, both, defaults, created_ms=created_ms, fresh_id=fresh_id)
            prepared.append(job if isinstance(job_type, str) else _promising(job, job_type))
        except Exception as error:
            error.add_note(f"in the job at index {n}")
            raise
    return prepared


def new_generic_job(task: GenericTask, defaults: Mapping[str, Any], before: Before, function: object = None) -> NewJob:
    """A generic job, perhaps of a function whose annotation promises a result; who asked is told by its data."""
    job_type, data, options = before.change(task.data.job_type, task.data, task.options)
    job = prepare(
        job_type,
        data,
        options,
        defaults,
        created_ms=now_ms(),
        fresh_id=fresh_ids(1)[0],
        label=data.label if isinstance(data, GenericTaskJobData) else task.data.label,
    )
    return job if function is None else _promising(job, function)


def job_type_of_data(data: object) -> str:
    """The job type that a JobData's class declares.

    Raises:
        InvalidOption: it is no JobData, or its class declares none.
    """
    job_type = getattr(type(data), "job_type", None)
    if not isinstance(data, JobData) or not isinstance(job_type, str):
        raise InvalidOption("data", f'{type(data).__name__} must be a JobData with job_type: ClassVar[str] = "..."')
    return job_type


def _promising(job: NewJob, added: object) -> NewJob:
    return msgspec.structs.replace(job, read=reader_of(added))


def _check_shape(data: object) -> None:
    """A Struct's constructor checks nothing, so a `JobData` is decoded once as its worker will.

    Raises:
        InvalidOption: what doesn't fit, by its path.
    """
    if not isinstance(data, JobData):
        return
    encoded = encode_data(data)
    try:
        _decoder_of_shape(type(data))(encoded)
    except InvalidArguments as error:
        problem = str(error)
    else:
        return
    raise InvalidOption("data", problem)


@functools.cache
def _decoder_of_shape(kind: type[JobData[Any]]) -> Decode:
    return decoder_of(kind.__name__, kind)


def _named(job_type: object, data: object) -> tuple[str, object]:
    if isinstance(job_type, str):
        return job_type, data
    if not isinstance(job_type, JobData):
        return job_type_of(job_type), data
    if data is not None:
        raise InvalidOption("data", f"{type(job_type).__name__} is the data already: leave the other out")
    return job_type_of_data(job_type), job_type


def _taken_apart(item: object) -> tuple[object, object, Mapping[str, Any]]:
    match item:
        case (job_type, data):
            return job_type, data, {}
        case (job_type, data, Mapping() as own):
            return job_type, data, own
        case JobData():
            return item, None, {}
        case _:
            raise InvalidOption(
                "jobs", f"a job is (job type, data), (job type, data, options) or a JobData, not {type(item).__name__}"
            )


def _over(common: Mapping[str, Any], own: Mapping[str, Any]) -> Mapping[str, Any]:
    if not common or not own:
        return own or common
    if own.get("delay") is not None or own.get("at") is not None:
        common = {name: value for name, value in common.items() if name not in ("delay", "at")}
    return {**common, **{name: value for name, value in own.items() if value is not None}}
