"""The wire shapes of job data: camelCase on the wire, snake_case in Python.

A producer imports them without any of the packages that a worker needs to do the work.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Generic

import msgspec
from typing_extensions import TypeVar

from redqueue.defaults import GENERIC_TASK

R = TypeVar("R", default=Any)


class JobData(msgspec.Struct, Generic[R], rename="camel", forbid_unknown_fields=True, kw_only=True):
    """Data that names its own job type and result.

    ``class SmsJobData(JobData[SmsResult]): job_type: ClassVar[str] = "sms"; phone_numbers: list[str]``
    """

    job_type: ClassVar[str]


class GenericTaskJobData(JobData[Any], omit_defaults=True):
    """A service method, or a task, to run by its registered name.

    Args:
        label: what people read; never looked up.
        function: the task's name, when it is a task.
        service, method: the service's name and one of its allowed methods, when it is a service method.
        parameters: positional arguments as a list, or arguments by name as a mapping.
        context: a mapping for the function, `JobContext.given`.
    """

    job_type: ClassVar[str] = GENERIC_TASK

    label: str
    function: str | None = None
    service: str | None = None
    method: str | None = None
    parameters: list[Any] | dict[str, Any] = msgspec.field(default_factory=list)
    context: Mapping[str, Any] | None = None
    sub_account_id: str | None = None
    user_id: str | None = None
