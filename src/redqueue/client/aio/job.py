"""A handle on one job."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic

from typing_extensions import TypeVar

from redqueue.client.aio.results import AsyncResults
from redqueue.client.reading import as_it_is
from redqueue.core import inspect, steer
from redqueue.core.add import Stored
from redqueue.errors import Seconds
from redqueue.options import AddAnswer, CancelAnswer, Durability
from redqueue.records import JobStatus

R_co = TypeVar("R_co", covariant=True, default=Any)


class AsyncJob(Generic[R_co]):
    """A handle on one job, made by `add` or `queue.job(id)`; making it takes no round trip.

    Attributes:
        queue: the queue's name.
        job_type: empty for a handle that `queue.job(id)` made.
        answer: what `add` found, "created" or "duplicate": then the job that was there is unchanged. None for a handle
            that `queue.job(id)` made.
        confirmed: what Redis confirmed of the add before it returned: "memory", or the "replica" or "fsync" that
            `durability` asked for. None for a handle that `queue.job(id)` made.
    """

    __slots__ = ("_position", "_read", "_results", "_runner", "answer", "confirmed", "id", "job_type", "queue")

    def __init__(
        self,
        results: AsyncResults,
        job_id: str,
        job_type: str = "",
        stored: Stored | None = None,
        read: Callable[[Any], Any] | None = None,
    ) -> None:
        self._results = results
        self._runner = results.runner
        self.id = job_id
        self.queue = results.runner.keys.queue
        self.job_type = job_type
        self.answer: AddAnswer | None = None if stored is None else stored.answer
        self.confirmed: Durability | None = None if stored is None else stored.confirmed
        self._position = None if stored is None else stored.position
        self._read = read or as_it_is

    async def result(self, timeout: Seconds | None = None) -> R_co:
        """What the job returned, once it has ended; waits while it waits, runs and is retried.

        When a `JobData` or a function was added, it is of the type that its class or its annotation promises: a struct,
        dataclass or model again. Else it is what JSON makes of it.

        Nothing is missed between `add` and this call, also when the queue keeps no finished jobs. Of a job that this
        handle didn't add, or that was there before, only what is kept is found: its result, for as long as the queue
        keeps it, or for a minute when it is longer than 1 KiB.

        Args:
            timeout: seconds, or None for as long as it takes; 0 looks once. While Redis is away the waiting goes on.
        Raises:
            JobFailed: it failed for good; what its processor raised, as text.
            ResultMismatch: it isn't what the `JobData` or the function that was added promises.
            JobCancelled: with the reason.
            BadSignature: the result, or the error, was not sealed for this job by a key of ours.
            ResultTimeout: nothing is known yet, or the queue's handle was closed; the job goes on.
            ResultGone: no such job, or it was removed, or it ended and is no longer kept.
            RedisRefused: Redis said no; all who wait are told.
            InvalidOption: a timeout that is none.
        Cost: all waiters of a queue's handle share one connection, by which the queue's events are read; in tasks,
        those of one event loop. The first call, and others that come later than their job's events, take a round trip,
        shared by up to 1,000 that begin in one turn of an event loop. When a job left nothing but events, these are
        read from where it was added: a round trip for 100 calls' events, so up to about 100, shared likewise. A client
        that was given with too few connections to wait with one, and have another for calls, looks ten times a second.
        """
        value: R_co = self._read(await self._results.wait(self.id, self._position, timeout))
        return value

    async def status(self) -> JobStatus | None:
        """State, attempts, result and times, or None: never added, or finished and no longer kept.

        Cost: one round trip.
        """
        return await self._runner.run(inspect.get_status(self._runner.keys, self.id))

    async def cancel(self, reason: str = "") -> CancelAnswer:
        """End the job: at once when it waits ("cancelled"), by its worker when it runs ("requested").

        "finished" and "missing" say that there was nothing to end.

        Cost: one round trip.
        """
        return await self._runner.run(steer.cancel(self._runner.keys, self.id, reason))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} of {self.queue}>"
