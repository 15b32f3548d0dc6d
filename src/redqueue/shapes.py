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


class Delivery(Result, frozen=True, kw_only=True):
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


class SmsResult(Result, frozen=True, kw_only=True, omit_defaults=False):
    """What became of a message's recipients, in the order of the job: an entry for each of its phone numbers.

    Attributes:
        duplicates: entries whose number stands earlier in the job; it was sent to once, and they share its outcome.
        segments: what one message is billed as.
    """

    total: int
    successful: int
    failed: int
    duplicates: int = 0
    segments: int
    results: list[Delivery]


class SmsJobData(JobData[SmsResult], kw_only=True, omit_defaults=True):
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


class EmailResult(Result, frozen=True, kw_only=True, omit_defaults=False):
    """What became of the recipients: to, cc and bcc, in this order."""

    total: int
    successful: int
    failed: int
    results: list[Delivery]
    message_id: str


class EmailJobData(JobData[EmailResult], kw_only=True, omit_defaults=True):
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


class ExportResult(Result, frozen=True, kw_only=True, omit_defaults=False):
    """Where the file is.

    Attributes:
        size: in bytes.
        sha256: in hex digits.
        link: where people download it; None: the storage has no links.
        unsent: the kinds of the notices that could not be sent, though it was tried as often as the job allows.
    """

    key: str
    format: str
    rows: int
    size: int
    sha256: str
    link: str | None
    unsent: list[str] = []


class DataExportJobData(JobData[ExportResult], kw_only=True, omit_defaults=True):
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


Side: TypeAlias = Annotated[int, Meta(ge=1, le=16_384)]
"""Of an image, in pixels."""


class Operation(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="op", tag=str.lower
):
    """One step of a file-processing job: its class's name in lower case is "op" on the wire."""


class Resize(Operation, frozen=True):
    """Of an image: to exactly this size, or by one side in proportion."""

    width: Side | None = None
    height: Side | None = None


class Thumbnail(Operation, frozen=True):
    """Of an image: in proportion, to fit within this size; never larger than it is."""

    width: Side
    height: Side


class Crop(Operation, frozen=True):
    """Of an image: this part of it, in pixels."""

    left: Annotated[int, Meta(ge=0)]
    top: Annotated[int, Meta(ge=0)]
    width: Side
    height: Side


class Convert(Operation, frozen=True):
    """Of an image: into another format. `quality` of JPEG and WebP is 1 to 100; transparency becomes white in JPEG."""

    format: Literal["jpeg", "png", "webp", "gif"]
    quality: Annotated[int, Meta(ge=1, le=100)] | None = None


class Strip(Operation, frozen=True):
    """Of an image: without EXIF, so without place, camera and date. Its colour profile stays."""


class Orient(Operation, frozen=True):
    """Of an image: turned as its EXIF says."""


class Unpack(Operation, frozen=True):
    """Of a zip archive: its files, below the destination. Nothing is written unless all of it is sound."""


class Pack(Operation, frozen=True):
    """A zip archive of the source and these other files, by their keys."""

    also: Annotated[list[Key], Meta(max_length=1_000)] = []


class Checksum(Operation, frozen=True):
    """In hex digits, among the details of the result. SHA-1 and MD5 only tell accidents, not attacks."""

    algorithm: Literal["sha256", "sha512", "blake2b", "sha1", "md5"] = "sha256"


class Text(Operation, frozen=True):
    """Of a PDF: as UTF-8, a form feed between pages."""


class Probe(Operation, frozen=True):
    """Of video or audio: format, duration and streams, among the details of the result."""


class Frame(Operation, frozen=True):
    """Of a video: the picture at so many seconds, as PNG; operations on images may follow."""

    at: Annotated[float, Meta(ge=0, le=1_000_000)] = 0


class Transcode(Operation, frozen=True):
    """Of video or audio: H.264 and AAC in MP4, VP9 and Opus in WebM, or sound only; at most `height` pixels high."""

    format: Literal["mp4", "webm", "mp3", "ogg", "wav", "flac"]
    height: Annotated[int, Meta(ge=16, le=4_320)] | None = None


FileOperation: TypeAlias = (
    Resize | Thumbnail | Crop | Convert | Strip | Orient | Unpack | Pack | Checksum | Text | Probe | Frame | Transcode
)


class WrittenFile(Result, frozen=True, omit_defaults=False):
    """A file in the storage. `size` is in bytes, `sha256` in hex digits; `link` is None where the storage has none."""

    key: str
    size: int
    sha256: str
    link: str | None


class FileResult(Result, frozen=True, omit_defaults=False):
    """What was written, and what the operations tell.

    Attributes:
        files: the first of them, up to half a MiB; a long archive has more.
        count, size: of all files that were written; bytes.
        details: of each operation in its turn: "op", and what it tells.
    """

    files: list[WrittenFile]
    count: int
    size: int
    details: list[dict[str, Any]]


class FileProcessingJobData(JobData[FileResult], omit_defaults=True):
    """A file of the worker's storage, and what to do to it.

    Args:
        operations: one after the other, each on what the one before it made.
        destination: the key of the file that they make, or below which `Unpack` writes; None: they only tell.
    """

    job_type: ClassVar[str] = "file-processing"

    sub_account_id: Asker
    source: Key
    operations: Annotated[list[FileOperation], Meta(min_length=1, max_length=20)]
    destination: Key | None = None
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
