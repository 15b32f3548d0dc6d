"""A processor with parts."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Generic, TypeVar

from typing_extensions import TypeVar as DefaultTypeVar

from redqueue.context import JobContext

D = TypeVar("D")
R = DefaultTypeVar("R", default=Any)


class BaseProcessor(Generic[D, R]):
    """A processor with parts, registered as an object: ``registry.register_processor("sms", SmsProcessor())``.

    One attempt is `validate`, `process`, `on_completed`, in this order; what any of them raises is that attempt's
    failure. Each may be ``async def`` or plain:

    * all plain: the whole attempt runs in a thread;
    * any of them async: `process` must be async too, and the plain ones run on the event loop, so keep those quick.

    The data's type is `process`'s annotation, or the class's: ``class Sms(BaseProcessor[SmsJobData, SmsResult])``.
    """

    def validate(self, data: D, /) -> Awaitable[None] | None:
        """Check what annotations can't say. Raise `Discard` for data that will never do: other errors are retried."""

    def process(self, data: D, context: JobContext, /) -> Awaitable[R] | R:
        """Do the work; what it returns is the job's result."""
        raise NotImplementedError(f"{type(self).__qualname__} has no process()")

    def on_completed(self, data: D, result: R, context: JobContext, /) -> Awaitable[None] | None:
        """After `process`, before the result is recorded. When it raises, the attempt failed and may be repeated."""

    def on_failed(self, data: D, error: Exception, context: JobContext, /) -> Awaitable[None] | None:
        """Once the job has failed for good; not after attempts that are retried, nor for data that doesn't decode."""
