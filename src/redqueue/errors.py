"""Everything that redqueue raises, and the three exceptions by which a processor steers its own job.

RedQueueError
├── BadInput (ValueError)         refused before anything was sent
│   ├── InvalidName               a queue name, job id, prefix, service or task name
│   ├── InvalidOption             an option, its value, or two that contradict each other
│   ├── PayloadTooLarge
│   └── PayloadNotSerializable
├── ConfigurationError            a setting, URL or client that cannot work
│   └── MissingExtra              a package that an optional feature needs
├── RegistrationError             a registry that would not do what its author meant
├── NotRegistered (LookupError)   a function that no registry names; nothing was sent
├── WorkerStuck                   too many runs of a worker ignored that they were given up
├── RedisError                    what the server or the way to it answered
│   ├── RedisUnavailable          not reached, or no answer in time
│   │   └── NotConfirmed          stored, and not known to be on a replica or on disk
│   ├── RedisRefused              credentials, permissions, a key of another type, a newer format
│   └── RedisFull                 out of memory; nothing was written
└── JobError                      one job and what became of it
    ├── JobFailed, JobCancelled, ResultTimeout, ResultGone
    ├── InvalidArguments          the data does not fit the function's annotations
    ├── ResultNotSerializable     what the processor returned cannot be stored
    ├── ResultMismatch            what it returned is not what the caller's types promise
    ├── JobExpired                nobody started it in time
    ├── UnknownJobType            no registered name; a newer worker may know it
    ├── MethodNotAllowed          the service is known and does not offer that method
    ├── CorruptEnvelope           what is stored for the job is not what redqueue wrote
    ├── BadSignature              what is stored was not sealed for this job by a key of ours
    │   └── UnknownSealKey        it is sealed by a key that isn't here
    └── LeaseLost                 another run has the job; this one's outcome was not recorded

Steering                          raised by a processor, never by redqueue
├── Retry, Snooze, Discard
"""

from __future__ import annotations

from datetime import timedelta
from typing import TypeAlias

Seconds: TypeAlias = float | timedelta


def _rebuild(kind: type[Exception], args: tuple[object, ...], facts: dict[str, object]) -> Exception:
    error = kind.__new__(kind, *args)
    error.__dict__.update(facts)
    return error


class RedQueueError(Exception):
    """The root of everything that redqueue raises. Errors survive the way through a process pool."""

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.args, dict(self.__dict__))


class BadInput(RedQueueError, ValueError):
    """An argument was refused; nothing was sent. Mend the call: trying again changes nothing."""


class InvalidName(BadInput):
    """A name that could be confused with another key, or that a log could not show safely."""


class InvalidOption(BadInput):
    """An option that is unknown, not built yet, or has a value outside its bounds.

    Attributes:
        option: its name as it was passed.
    """

    def __init__(self, option: str, message: str) -> None:
        super().__init__(message)
        self.option = option


class PayloadTooLarge(BadInput):
    """Data, parameters or a head longer than the limit, in bytes, after encoding."""

    def __init__(self, message: str, *, size: int, limit: int) -> None:
        super().__init__(message)
        self.size = size
        self.limit = limit


class PayloadNotSerializable(BadInput):
    """Data that JSON cannot carry unchanged. `path` says where, as in ``$.contacts[3].seen``."""

    def __init__(self, message: str, *, path: str = "$") -> None:
        super().__init__(message)
        self.path = path


class ConfigurationError(RedQueueError):
    """A setting, URL or client that cannot work as it is; the message says what to set instead."""


class MissingExtra(ConfigurationError):
    """A feature needs a package that is not installed. `extra` is what to install."""

    def __init__(self, extra: str, feature: str) -> None:
        super().__init__(f"{feature} needs the extra {extra!r}: pip install 'redqueue-jobs[{extra}]'")
        self.extra = extra


class RegistrationError(RedQueueError):
    """A registration that cannot work; raised at registration or by `ServiceRegistry.check`."""


class NotRegistered(RedQueueError, LookupError):
    """The function or method given is in no registry, so no worker could run it. Nothing was sent."""


class WorkerStuck(RedQueueError):
    """More runs ignored that they were given up than the worker has slots: it left, and should be started again."""


class RedisError(RedQueueError):
    """Redis, or the way to it, stood in the way."""


class RedisUnavailable(RedisError):
    """Redis was not reached or did not answer in time.

    Attributes:
        sent: whether the call may have reached Redis. If so nobody knows whether it was carried out; an `add` is
            safe to repeat with the same ``job_id``.
    """

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class NotConfirmed(RedisUnavailable):
    """Jobs are stored, and what their `durability` asks for was not confirmed in time. `sent` is true.

    They run like any other. Whoever wants to be sure adds them again with the same ``job_id``: that makes no second
    job, and asks again.

    Attributes:
        durability: what was asked for and not confirmed.
        job_ids: the jobs that asked for it.
    """

    def __init__(self, message: str, *, durability: str, job_ids: tuple[str, ...]) -> None:
        super().__init__(message, sent=True)
        self.durability = durability
        self.job_ids = job_ids


class RedisRefused(RedisError):
    """Redis answered and said no for good: credentials, permissions, another key type, a newer format."""


class RedisFull(RedisError):
    """Redis is at its memory limit; nothing was written. Workers still drain the queue; add again later."""


class JobError(RedQueueError):
    """One job and what became of it."""


class JobFailed(JobError):
    """The job failed for good. What the processor raised is carried as text; no class is ever rebuilt from it.

    Attributes:
        job_id: the job.
        type: the exception's class name.
        message: its text, at most 16 KiB.
        traceback: as Python prints it, without locals; empty when there is none.
        attempts: counted runs, the last included.
    """

    def __init__(self, job_id: str, type: str, message: str, traceback: str = "", attempts: int = 0) -> None:
        super().__init__(f"job {job_id} failed: {type}: {message}")
        self.job_id = job_id
        self.type = type
        self.message = message
        self.traceback = traceback
        self.attempts = attempts


class JobCancelled(JobError):
    """The job was cancelled before it could complete."""

    def __init__(self, job_id: str, reason: str) -> None:
        super().__init__(f"job {job_id} was cancelled" + (f": {reason}" if reason else ""))
        self.job_id = job_id
        self.reason = reason


class ResultTimeout(JobError, TimeoutError):
    """Nothing is known yet; the job goes on."""


class ResultGone(JobError, LookupError):
    """No such job, or it finished and is no longer kept."""


class InvalidArguments(JobError, ValueError):
    """Data or arguments do not fit the function's annotations. The function was not entered.

    The message names the path of the field and what was expected there, never the value.
    """


class ResultMismatch(JobError):
    """The result isn't what the caller's own types promise; the job has completed.

    Attributes:
        value: the result, as JSON brought it.
    """

    def __init__(self, message: str, value: object) -> None:
        super().__init__(message)
        self.value = value


class ResultNotSerializable(JobError, ValueError):
    """What the processor returned cannot be stored: not JSON, not finite, or longer than the limit."""


class JobExpired(JobError):
    """Nobody started the job within its ``expires_in``. The function was not entered."""


class UnknownJobType(JobError, LookupError):
    """This worker's registry has no such job type, service or task. A worker of a newer release may."""


class MethodNotAllowed(JobError, LookupError):
    """The service is registered and does not offer that method."""


class CorruptEnvelope(JobError, ValueError):
    """What Redis holds for the job is not an envelope of redqueue's."""


class BadSignature(JobError, ValueError):
    """What Redis holds of the job was not sealed for this place by a key of ours, or was changed since.

    Nothing of it was decoded. Somebody writes to Redis who has no key, or a producer works without its seal.
    """


class UnknownSealKey(BadSignature):
    """It is sealed by a key that isn't here: give it to this process, too.

    A job waits for a worker that has the key as for one that knows its name.
    """


class LeaseLost(JobError):
    """The lease ran out or was taken over, so this attempt's outcome was not recorded.

    Don't retry it: another run has the job.
    """


class Steering(Exception):
    """Raised by a processor to say how its job goes on. Not a RedQueueError, so catching those can't swallow it."""


class Retry(Steering):
    """Run again; burns an attempt.

    Args:
        after: seconds to wait; None takes the backoff's wait.
        reason: shown in the job's status.
    """

    def __init__(self, after: Seconds | None = None, reason: str = "") -> None:
        super().__init__(reason or "the processor asked for a retry")
        self.after = after
        self.reason = reason


class Snooze(Steering):
    """Run again later at the same place in line; burns no attempt.

    Args:
        after: seconds to wait.
        reason: shown in the job's status while it waits.
    """

    def __init__(self, after: Seconds, reason: str = "") -> None:
        super().__init__(reason or "the processor asked to be run later")
        self.after = after
        self.reason = reason


class Discard(Steering):
    """Fail now, without the retries that are left."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
