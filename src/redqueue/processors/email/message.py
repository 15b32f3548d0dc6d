"""A message from its parts: headers that say what the job said and nothing else, text, HTML, attached files."""

from __future__ import annotations

import email.policy
import mimetypes
import re
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.errors import MessageError
from email.header import Header
from email.message import EmailMessage
from email.parser import BytesHeaderParser
from typing import BinaryIO, Final, Protocol

from redqueue.errors import Discard
from redqueue.processors.email.addresses import Mailbox, check_line
from redqueue.processors.email.errors import UnsafeText
from redqueue.registry.names import quoted
from redqueue.shapes import Attachment

POLICY: Final = email.policy.SMTP.clone(cte_type="7bit", refold_source="none")
"""Bodies in ASCII: what every server takes, whatever it offers. Headers that were set by hand stay as they are."""

BINARY: Final = "application/octet-stream"

_TYPE: Final = re.compile(r"[A-Za-z0-9.+_-]+/[A-Za-z0-9.+_-]+")
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 '-]{0,59}")
_PLAIN_SUBJECT: Final = re.compile(r"(?! )(?!.*=\?)[ -~]{1,66}(?<! )")
_NESTED: Final = ("message/", "multipart/")


class Attachments(Protocol):
    """Files by key, as a `Storage` has them. Both raise FileNotFoundError, or ValueError for what is no key."""

    def reading(self, key: str, /) -> AbstractContextManager[BinaryIO]:
        """The file, open for reading."""
        ...

    def size(self, key: str, /) -> int:
        """In bytes."""
        ...


@dataclass(frozen=True, slots=True)
class File:
    """What is attached."""

    name: str
    type: str
    content: bytes


def compose(
    sender: Mailbox,
    subject: str,
    text: str,
    html: str | None = None,
    *,
    to: Sequence[Mailbox] = (),
    cc: Sequence[Mailbox] = (),
    reply_to: Mailbox | None = None,
    message_id: str | None = None,
    files: Iterable[File] = (),
) -> EmailMessage:
    """A message that says that a program wrote it (RFC 3834). Who gets a blind copy is no part of it.

    Raises:
        UnsafeText: the subject or a file's name could forge a header.
    """
    message = EmailMessage(policy=POLICY)
    _set_addresses(message, "From", [sender])
    if to or not cc:
        _set_addresses(message, "To", to)
    if cc:
        _set_addresses(message, "Cc", cc)
    if reply_to is not None:
        _set_addresses(message, "Reply-To", [reply_to])
    message.set_raw("Subject", _words("Subject", check_line("the subject", subject), _PLAIN_SUBJECT))
    message["Date"] = datetime.now(UTC)
    if message_id is not None:
        message["Message-ID"] = message_id
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(_sound(text))
    if html is not None:
        message.add_alternative(_sound(html), subtype="html")
    for file in files:
        _attach(message, file)
    return message


def flatten(message: EmailMessage, *, utf8: bool = False) -> bytes:
    """As it is sent after DATA, but for the final dot: CRLF everywhere, and lines that begin with a dot have two.

    Args:
        utf8: addresses as they are (RFC 6532), for a server with SMTPUTF8.
    Raises:
        UnsafeText: it would have other headers than were set, or one has an address that needs `utf8`.
    """
    try:
        raw = message.as_bytes(policy=POLICY.clone(utf8=utf8))
    except (MessageError, UnicodeEncodeError):
        raise UnsafeText("a header can't be written: leave out line breaks, and addresses beyond ASCII") from None
    head = BytesHeaderParser().parsebytes(raw[: raw.find(b"\r\n\r\n") + 4])
    # Releases of Python differ in what they let through; so what comes out is looked at.
    if [name for name, _ in head.items()] != [name for name, _ in message.items()]:
        raise UnsafeText("a header of the message has a line break: leave it out")
    # A lone CR or LF is a line's end to some servers: with a dot after it, one message could be made two.
    raw = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
    raw = raw if raw.endswith(b"\r\n") else raw + b"\r\n"
    return raw.replace(b"\r\n.", b"\r\n..")


def check_attachment(attachment: Attachment) -> tuple[str, str]:
    """The name and type under which it is attached.

    Raises:
        UnsafeText: the name could forge a header, or is a path.
        Discard: the type isn't one for a file.
    """
    name = attachment.name or attachment.key.rpartition("/")[2]
    check_line("an attachment's name", name)
    if not name.strip() or "=?" in name or "/" in name or "\\" in name:
        raise UnsafeText(f"{quoted(name)} is no attachment's name: give one without / and =?")
    if attachment.type is None:
        guessed, packed = mimetypes.guess_type(name)
        usable = guessed is not None and packed is None and not guessed.startswith(_NESTED)
        return name, guessed if usable and guessed else BINARY
    if not _TYPE.fullmatch(attachment.type) or attachment.type.lower().startswith(_NESTED):
        raise Discard(f"{quoted(attachment.type)} is no type for an attachment: give one as text/csv, or {BINARY}")
    return name, attachment.type


def read_files(attachments: Sequence[Attachment], storage: Attachments | None, most: int) -> list[File]:
    """Read what is to be attached, into memory.

    Args:
        most: bytes of all of them, as they are sent: a third more than they have.
    Raises:
        Discard: one is missing or has no key, there is no storage, or they are too large.
        Exception: what the storage raises otherwise.
    """
    if attachments and storage is None:
        raise Discard("this worker has no storage to attach from: EmailProcessor(..., storage=Storage(...))")
    files, left = [], most
    for attachment in attachments:
        assert storage is not None
        name, type = check_attachment(attachment)
        content = _read(storage, attachment.key, left // 78 * 57)
        left -= encoded_size(len(content))
        if left < 0:
            raise Discard(f"the attachments are larger than {most:,} bytes as they are sent: {quoted(attachment.key)}")
        files.append(File(name, type, content))
    return files


def encoded_size(size: int) -> int:
    """Of that many bytes in base64, with its line breaks."""
    return -(-size // 57) * 78


def _read(storage: Attachments, key: str, most: int) -> bytes:
    try:
        if storage.size(key) <= most:
            with storage.reading(key) as file:
                return file.read(most + 1)
    except FileNotFoundError:
        raise Discard(f"the attachment {quoted(key)} isn't in the storage") from None
    except ValueError as error:
        raise Discard(f"the attachment {quoted(key)} has no key of the storage: {error}") from None
    raise Discard(f"the attachments are too large: {quoted(key)} has more than the {most:,} bytes that are left")


def _set_addresses(message: EmailMessage, name: str, mailboxes: Sequence[Mailbox]) -> None:
    lines = [f"{_words('', one.name, _PLAIN_NAME)} <{one.spec}>" if one.name else one.spec for one in mailboxes]
    message.set_raw(name, ",\n ".join(lines) or "undisclosed-recipients:;")


def _words(header: str, text: str, plain: re.Pattern[str]) -> str:
    """Text of a header: as it is where nothing in it could mean anything, or else all of it encoded (RFC 2047).

    By hand, as Python's own folding has lost quotes and let line breaks through, in releases that are in use.
    """
    if plain.fullmatch(text):
        return text
    return Header(text, "utf-8", header_name=header, maxlinelen=76).encode()


def _attach(message: EmailMessage, file: File) -> None:
    maintype, _, subtype = file.type.partition("/")
    message.add_attachment(file.content, maintype=maintype, subtype=subtype, filename=file.name)
    part = [*message.iter_attachments()][-1]
    if part.get_filename() != file.name:
        raise UnsafeText("an attachment's name isn't read as it is written: give another one")


def _sound(text: str) -> str:
    """Without what can't be sent: halves of surrogate pairs, and NUL (RFC 5322, 4)."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()
