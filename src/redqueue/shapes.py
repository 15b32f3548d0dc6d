"""The wire shapes of job data: camelCase on the wire, snake_case in Python.

A producer imports them without any of the packages that a worker needs to do the work. Mappings are taken in either
spelling of a shape's own fields; what lies within a field, such as `metadata`, is never respelled.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Generic, Literal, TypeAlias

import msgspec
from msgspec import Meta
from typing_extensions import TypeVar

from redqueue.defaults import GENERIC_TASK

R = TypeVar("R", default=Any)

MOST_RECIPIENTS: Final = 10_000
LONGEST_MESSAGE: Final = 1_600

Asker: TypeAlias = Annotated[str, Meta(min_length=1, max_length=128)]
"""A sub-account's or user's id."""

Key: TypeAlias = Annotated[str, Meta(min_length=1, max_length=1_024)]
"""Of a file in the worker's storage: a relative path; never one of the machine."""

Address: TypeAlias = Annotated[str, Meta(min_length=1, max_length=320)]


class JobData(msgspec.Struct, Generic[R], rename="camel", forbid_unknown_fields=True, kw_only=True):
    """Data that names its own job type and result.

    ``class SmsJobData(JobData[SmsResult]): job_type: ClassVar[str] = "sms"; phone_numbers: list[str]``

    It is checked against its annotations before it is sent, and again by the worker.
    """

    job_type: ClassVar[str]


class Result(msgspec.Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """What a processor of redqueue's answers: camelCase on the wire, without what says nothing."""


class Delivery(Result):
    """What became of one recipient.

    Attributes:
        to: as it was sent to: a number in E.164, an address; of a bad one what the job said, clipped.
        status: "sent", which means that the provider accepted it; or "failed".
        message_id: the provider's.
        error: why it failed, in a few words and without anything secret.
    """

    to: str
    status: Literal["sent", "failed"] = "sent"
    message_id: str | None = None
    error: str | None = None


class SmsResult(Result, omit_defaults=False):
    """What became of a message's recipients, in the order of the job; `segments` is what one message is billed as."""

    total: int
    successful: int
    failed: int
    segments: int
    results: list[Delivery]


class SmsJobData(JobData[SmsResult], omit_defaults=True):
    """One text to many numbers, in any usual notation; the worker normalises them to E.164."""

    job_type: ClassVar[str] = "sms"

    sub_account_id: Asker
    phone_numbers: Annotated[list[Annotated[str, Meta(max_length=64)]], Meta(min_length=1, max_length=MOST_RECIPIENTS)]
    message: Annotated[str, Meta(min_length=1, max_length=LONGEST_MESSAGE)]
    campaign_id: Asker | None = None
    user_id: Asker | None = None
    metadata: dict[str, Any] | None = None


class Attachment(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A file of the worker's storage.

    Attributes:
        key: where it is.
        name: what the reader sees; None: the last part of the key.
        type: as in "text/csv"; None: told by the name.
    """

    key: Key
    name: Annotated[str, Meta(min_length=1, max_length=255)] | None = None
    type: Annotated[str, Meta(max_length=255, pattern=r"^[\w.+-]+/[\w.+-]+$")] | None = None


class EmailResult(Result, omit_defaults=False):
    """What became of the recipients: to, cc and bcc, in this order."""

    total: int
    successful: int
    failed: int
    results: list[Delivery]
    message_id: str


class EmailJobData(JobData[EmailResult], omit_defaults=True):
    """One message, made from a template of the worker's. All recipients but `bcc` see each other."""

    job_type: ClassVar[str] = "email"

    sub_account_id: Asker
    to: Address | Annotated[list[Address], Meta(min_length=1, max_length=100)]
    subject: Annotated[str, Meta(min_length=1, max_length=998)]
    template: Annotated[str, Meta(min_length=1, max_length=128)]
    template_data: dict[str, Any] | None = None
    cc: Annotated[list[Address], Meta(max_length=100)] = []
    bcc: Annotated[list[Address], Meta(max_length=100)] = []
    reply_to: Address | None = None
    attachments: Annotated[list[Attachment], Meta(max_length=20)] = []
    user_id: Asker | None = None
    metadata: dict[str, Any] | None = None


class Notice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom to tell, and how: by "email", "sms", "in_app", or a kind that the worker's notifier has by that name."""

    kind: Annotated[str, Meta(min_length=1, max_length=64)]
    recipients: Annotated[list[Address], Meta(min_length=1, max_length=100)]


class ExportResult(Result, omit_defaults=False):
    """Where the file is. `size` is in bytes, `sha256` in hex digits; `link` is None where the storage has none."""

    key: str
    format: str
    rows: int
    size: int
    sha256: str
    link: str | None


class DataExportJobData(JobData[ExportResult], omit_defaults=True):
    """Rows of a source that the worker registered, as a file in its storage.

    Args:
        export_type: the source's name: "leads", "bookings", "users", or any other that is registered.
        filters: by column, a value, or a mapping of operators to values, as the source defines them.
        columns: those of the source to write, in this order; None: all.
        notify: whom to tell when it is done; None: the user, in the application, where the worker can.
    """

    job_type: ClassVar[str] = "data-export"

    sub_account_id: Asker
    export_type: Annotated[str, Meta(min_length=1, max_length=64)]
    format: Literal["csv", "excel", "pdf", "json"]
    filters: dict[str, Any] | None = None
    columns: Annotated[list[Annotated[str, Meta(max_length=128)]], Meta(min_length=1, max_length=500)] | None = None
    notify: Annotated[list[Notice], Meta(max_length=10)] | None = None
    user_id: Asker | None = None
    metadata: dict[str, Any] | None = None


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
