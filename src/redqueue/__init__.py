"""A typed, embeddable job queue on Redis and Valkey.

Importing this loads nothing but the names: each is fetched from its module when it is first used, so that a producer
pays neither for the worker nor for an extra.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own would have to be imported; checkers know this name, too
if TYPE_CHECKING:
    from redqueue.backoff import Backoff, Exponential
    from redqueue.client.aio.job import AsyncJob
    from redqueue.client.aio.queue import AsyncQueue
    from redqueue.client.aio.service import AsyncJobQueueService
    from redqueue.client.sync.job import Job
    from redqueue.client.sync.queue import Queue
    from redqueue.client.sync.service import JobQueueService
    from redqueue.context import INJECTED, JobContext, Receipt
    from redqueue.errors import (
        BadInput,
        BadSignature,
        ConfigurationError,
        CorruptEnvelope,
        Discard,
        InvalidArguments,
        InvalidName,
        InvalidOption,
        JobCancelled,
        JobError,
        JobExpired,
        JobFailed,
        LeaseLost,
        MethodNotAllowed,
        MissingExtra,
        NotConfirmed,
        NotRegistered,
        PayloadNotSerializable,
        PayloadTooLarge,
        RedisError,
        RedisFull,
        RedisRefused,
        RedisUnavailable,
        RedQueueError,
        RegistrationError,
        ResultGone,
        ResultMismatch,
        ResultNotSerializable,
        ResultTimeout,
        Retry,
        Snooze,
        Steering,
        UnknownJobType,
        UnknownSealKey,
        WorkerStuck,
    )
    from redqueue.options import JobOptions, ProcessorOptions, RunOptions, TaskOptions
    from redqueue.processors import BaseProcessor
    from redqueue.records import (
        AttemptEnded,
        Event,
        EventKind,
        JobStatus,
        JobToAdd,
        LeaseGone,
        QueueHealth,
        QueueStats,
        WorkerError,
        WorkerHealth,
        WorkerStarted,
        WorkerStopped,
    )
    from redqueue.registry import ServiceRegistry, job_method
    from redqueue.rules import Keep
    from redqueue.seals import Encrypted, Signed
    from redqueue.settings import Settings
    from redqueue.shapes import JobData
    from redqueue.worker.worker import Worker

    __version__: str

__all__ = [
    "INJECTED",
    "AsyncJob",
    "AsyncJobQueueService",
    "AsyncQueue",
    "AttemptEnded",
    "Backoff",
    "BadInput",
    "BadSignature",
    "BaseProcessor",
    "ConfigurationError",
    "CorruptEnvelope",
    "Discard",
    "Encrypted",
    "Event",
    "EventKind",
    "Exponential",
    "InvalidArguments",
    "InvalidName",
    "InvalidOption",
    "Job",
    "JobCancelled",
    "JobContext",
    "JobData",
    "JobError",
    "JobExpired",
    "JobFailed",
    "JobOptions",
    "JobQueueService",
    "JobStatus",
    "JobToAdd",
    "Keep",
    "LeaseGone",
    "LeaseLost",
    "MethodNotAllowed",
    "MissingExtra",
    "NotConfirmed",
    "NotRegistered",
    "PayloadNotSerializable",
    "PayloadTooLarge",
    "ProcessorOptions",
    "Queue",
    "QueueHealth",
    "QueueStats",
    "Receipt",
    "RedQueueError",
    "RedisError",
    "RedisFull",
    "RedisRefused",
    "RedisUnavailable",
    "RegistrationError",
    "ResultGone",
    "ResultMismatch",
    "ResultNotSerializable",
    "ResultTimeout",
    "Retry",
    "RunOptions",
    "ServiceRegistry",
    "Settings",
    "Signed",
    "Snooze",
    "Steering",
    "TaskOptions",
    "UnknownJobType",
    "UnknownSealKey",
    "Worker",
    "WorkerError",
    "WorkerHealth",
    "WorkerStarted",
    "WorkerStopped",
    "WorkerStuck",
    "job_method",
]

_HOMES = {
    "redqueue.backoff": "Backoff Exponential",
    "redqueue.client.aio.job": "AsyncJob",
    "redqueue.client.aio.queue": "AsyncQueue",
    "redqueue.client.aio.service": "AsyncJobQueueService",
    "redqueue.client.sync.job": "Job",
    "redqueue.client.sync.queue": "Queue",
    "redqueue.client.sync.service": "JobQueueService",
    "redqueue.context": "INJECTED JobContext Receipt",
    "redqueue.errors": (
        "BadInput BadSignature ConfigurationError CorruptEnvelope Discard InvalidArguments InvalidName InvalidOption "
        "JobCancelled JobError JobExpired JobFailed LeaseLost MethodNotAllowed MissingExtra NotConfirmed "
        "NotRegistered PayloadNotSerializable PayloadTooLarge RedQueueError RedisError RedisFull RedisRefused "
        "RedisUnavailable RegistrationError ResultGone ResultMismatch ResultNotSerializable ResultTimeout Retry Snooze "
        "Steering UnknownJobType UnknownSealKey WorkerStuck"
    ),
    "redqueue.options": "JobOptions ProcessorOptions RunOptions TaskOptions",
    "redqueue.processors": "BaseProcessor",
    "redqueue.records": (
        "AttemptEnded Event EventKind JobStatus JobToAdd LeaseGone QueueHealth QueueStats "
        "WorkerError WorkerHealth WorkerStarted WorkerStopped"
    ),
    "redqueue.registry": "ServiceRegistry job_method",
    "redqueue.rules": "Keep",
    "redqueue.seals": "Encrypted Signed",
    "redqueue.settings": "Settings",
    "redqueue.shapes": "JobData",
    "redqueue.worker.worker": "Worker",
}
"""Which names a module is the home of; `__all__` and the imports above say the same, and a test compares them."""

if not TYPE_CHECKING:  # or a checker would take any name

    def __getattr__(name):
        """The public name, from its home, which is imported on first use."""
        from importlib import import_module

        for home, names in _HOMES.items():
            if name in names.split():
                value = globals()[name] = getattr(import_module(home), name)
                return value
        if name == "__version__":
            return _version()
        raise AttributeError(f"module 'redqueue' has no attribute {name!r}")

    def _version():
        """Of the distribution that is installed."""
        from importlib.metadata import PackageNotFoundError, version

        try:
            found = globals()["__version__"] = version("redqueue-jobs")
        except PackageNotFoundError:
            raise AttributeError("redqueue-jobs isn't installed, so redqueue has no __version__") from None
        return found

    def __dir__():
        """The public names, fetched or not."""
        return sorted({*globals(), *__all__, "__version__"})
