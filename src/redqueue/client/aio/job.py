"""A handle on one job."""

from __future__ import annotations

from typing import Any, Generic

from typing_extensions import TypeVar

from redqueue.client.aio.runner import AsyncRunner
from redqueue.core import inspect, steer
from redqueue.options import AddAnswer, CancelAnswer
from redqueue.records import JobStatus

R_co = TypeVar("R_co", covariant=True, default=Any)


class AsyncJob(Generic[R_co]):
    """A handle on one job, made by `add` or `queue.job(id)`; making it takes no round trip.

    Attributes:
        queue: the queue's name.
        job_type: empty for a handle that `queue.job(id)` made.
        answer: what `add` found, "created" or "duplicate": then the job that was there is unchanged. None for a handle
            that `queue.job(id)` made.
    """

    __slots__ = ("_runner", "answer", "id", "job_type", "queue")

    def __init__(self, runner: AsyncRunner, job_id: str, job_type: str = "", answer: AddAnswer | None = None) -> None:
        self._runner = runner
        self.id = job_id
        self.queue = runner.keys.queue
        self.job_type = job_type
        self.answer = answer

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
