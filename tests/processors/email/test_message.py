"""What is sent says what the job said: no other header, no other line."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import parsedate_to_datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redqueue import Discard
from redqueue.processors.email import File, UnsafeText, compose, parse_address
from redqueue.processors.email.message import check_attachment, encoded_size, flatten, read_files
from redqueue.shapes import Attachment

from .servers import Folder

SHOP = parse_address("Shop <shop@example.com>")
ADA = parse_address("Ada <ada@example.com>")


def read(raw: bytes) -> EmailMessage:
    return message_from_bytes(raw.replace(b"\r\n..", b"\r\n."), policy=policy.default)


def test_no_nul_is_sent() -> None:
    raw = flatten(compose(SHOP, "Hi", "a\0b", "<p>\0c</p>", to=[ADA]))
    assert b"\0" not in raw and b"ab" in raw and b"<p>c</p>" in raw


def test_a_message_with_everything() -> None:
    file = File("Übersicht.csv", "text/csv", b"a,b\r\n.\r\n")
    bob = parse_address('"Bob, the 2nd" <bob@example.com>')
    message = compose(
        SHOP,
        "Grüße",
        "hëllo\n.dot\n",
        "<p>hëllo</p>",
        to=[ADA],
        cc=[bob],
        reply_to=bob,
        message_id="<1@x>",
        files=[file],
    )
    back = read(flatten(message))
    assert [*back.keys()] == [
        "From", "To", "Cc", "Reply-To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version",
        "Content-Type",
    ]  # fmt: skip
    assert (back["From"], back["To"]) == ("Shop <shop@example.com>", "Ada <ada@example.com>")
    assert back["Cc"] == back["Reply-To"] == '"Bob, the 2nd" <bob@example.com>'
    assert (back["Subject"], back["Message-ID"], back["Auto-Submitted"]) == ("Grüße", "<1@x>", "auto-generated")
    assert abs((parsedate_to_datetime(back["Date"]) - datetime.now(UTC)).total_seconds()) < 60
    text, html = back.get_body(("plain",)), back.get_body(("html",))
    assert text is not None and text.get_content() == "hëllo\r\n.dot\r\n"
    assert html is not None and html.get_content() == "<p>hëllo</p>\r\n"
    (attached,) = back.iter_attachments()
    assert (attached.get_filename(), attached.get_content_type()) == ("Übersicht.csv", "text/csv")
    assert attached.get_payload(decode=True) == b"a,b\r\n.\r\n"


def test_a_message_to_nobody_in_sight() -> None:
    assert read(flatten(compose(SHOP, "s", "t")))["To"] == "undisclosed-recipients:;"
    assert "To" not in read(flatten(compose(SHOP, "s", "t", cc=[ADA])))


@pytest.mark.parametrize(
    "subject",
    [
        "x" * 998,
        "x " * 499,
        "ü" * 998,
        "ü " * 300,
        "a  b ",
        " a",
        "2+2=?",
        "From: me",
        "=? =",
        "🎉 " * 60,
        "漢字" * 90,
        ".",
    ],
)
def test_a_subject_is_read_as_it_was_written(subject: str) -> None:
    raw = flatten(compose(SHOP, subject, "t", to=[ADA]))
    assert max(len(line) for line in raw.split(b"\r\n")) <= 998
    assert read(raw)["Subject"].strip() == subject.strip()


FORGING = [
    "a\r\nBcc: x@example.com",
    "a\nBcc: x@example.com",
    "a\r\n\r\nbody",
    "a\0b",
    "a\x0bBcc: x@example.com",
    "a\u2029Bcc: x@example.com",
    "=?utf-8?q?a=0D=0ABcc=3A_x@example.com?=",
    "=?utf-8?b?YQ0KQmNjOiB4QGV4YW1wbGUuY29t?=",
    "hi =?utf-8?q?a=0ABcc=3A_x@example.com?= ü",
    "=?utf-8?q?a=0D=0ABcc=3A x@example.com?=",
    "=?utf-8?q?ok?=",
    "\udcff",
]


@pytest.mark.parametrize("text", FORGING)
def test_what_forges_a_header_is_refused(text: str) -> None:
    """X27: line breaks, encoded words included."""
    with pytest.raises(UnsafeText) as refused:
        compose(SHOP, text, "t", to=[ADA])
    assert "example.com" not in str(refused.value)
    with pytest.raises(UnsafeText):
        check_attachment(Attachment(key="k", name=text))


@settings(deadline=None, max_examples=80)  # the machine may be busy
@given(st.text(max_size=60), st.lists(st.sampled_from(["=?utf-8?q?", "=0D=0A", "?=", "Bcc:", " ", "é", "\t", ","])))
def test_no_subject_brings_a_header(text: str, pieces: list[str]) -> None:
    """X27: any text."""
    for subject in (text, "".join(pieces)):
        try:
            raw = flatten(compose(SHOP, subject, "t", to=[ADA]))
        except UnsafeText:
            continue
        assert [name for name in read(raw).keys() if name.lower() == "bcc"] == []  # noqa: SIM118


@settings(deadline=None, max_examples=80)  # the machine may be busy
@given(st.lists(st.lists(st.sampled_from(["=?utf-8?q?", "=0D=0A", "?=", "Bcc:", "é", '"', ",", "a"])), max_size=4))
def test_no_names_bring_a_header(names: list[list[str]]) -> None:
    try:
        to = [parse_address(f"{''.join(name)} <a{n}@example.com>") for n, name in enumerate(names)]
        raw = flatten(compose(SHOP, "s", "t", to=to))
    except (UnsafeText, ValueError):
        return
    back = read(raw)
    assert "Bcc" not in back
    if to:
        assert [one.addr_spec for one in back["To"].addresses] == [one.spec for one in to]
        shown = [one.display_name.replace(" ", "") for one in back["To"].addresses]  # Python puts blanks between words
        assert shown == [one.name.replace(" ", "") for one in to]


@settings(deadline=None, max_examples=80)  # the machine may be busy
@given(st.text(min_size=1, max_size=255))
def test_an_attachments_name_is_read_as_it_was_written(name: str) -> None:
    try:
        check_attachment(Attachment(key="k", name=name))
        raw = flatten(compose(SHOP, "s", "t", to=[ADA], files=[File(name, "text/csv", b"x")]))
    except UnsafeText:
        return
    (attached,) = read(raw).iter_attachments()
    assert attached.get_filename() == name
    assert {*attached.keys()} <= {"Content-Type", "Content-Disposition", "Content-Transfer-Encoding", "MIME-Version"}


def test_a_header_that_python_lets_through_is_found_when_it_is_written() -> None:
    message = EmailMessage(policy=policy.SMTP)
    message["From"] = "shop@example.com"
    message["Subject"] = "=?utf-8?q?a=0D=0ABcc=3A_x@example.com?="
    message.set_content("t")
    with pytest.raises(UnsafeText, match="line break"):
        flatten(message)


def test_what_follows_data_has_one_end_only() -> None:
    message = compose(SHOP, "s", ".\n..\n.x\n", to=[ADA])
    message.as_bytes = lambda *args, **options: b"From: a@b\r\n\r\n.\r\n\r.\rMAIL FROM:<x@example.com>\n.\n."  # type: ignore[method-assign]
    for name in [*message.keys()][1:]:
        del message[name]
    raw = flatten(message)
    assert b"\r\n.\r\n" not in raw and b"\n.\n" not in raw and b"\r.\r" not in raw
    assert raw.endswith(b"\r\n")
    assert raw.replace(b"\r\n", b"").count(b"\r") == raw.replace(b"\r\n", b"").count(b"\n") == 0


def test_text_that_can_be_no_utf8_is_mended() -> None:
    back = read(flatten(compose(SHOP, "s", "a\ud800b", "<p>\udfff</p>", to=[ADA])))
    body = back.get_body(("plain",))
    assert body is not None and body.get_content() == "a?b\r\n"


@pytest.mark.parametrize(
    ("attachment", "expected"),
    [
        (Attachment(key="a/b/june.csv"), ("june.csv", "text/csv")),
        (Attachment(key="x", name="a b.pdf"), ("a b.pdf", "application/pdf")),
        (Attachment(key="x.tar.gz"), ("x.tar.gz", "application/octet-stream")),
        (Attachment(key="mail.eml"), ("mail.eml", "application/octet-stream")),
        (Attachment(key="x", type="image/svg+xml"), ("x", "image/svg+xml")),
    ],
)
def test_names_and_types_of_attachments(attachment: Attachment, expected: tuple[str, str]) -> None:
    assert check_attachment(attachment) == expected


@pytest.mark.parametrize("name", ["../x", "a\\b", " ", "=?utf-8?q?x"])
def test_an_attachments_name_is_no_path(name: str) -> None:
    with pytest.raises(UnsafeText):
        check_attachment(Attachment(key="k", name=name))


@pytest.mark.parametrize("type", ["text/plain\n", "multipart/mixed", "message/rfc822", "te\u0445t/plain", "text"])
def test_an_attachments_type_is_one_of_a_file(type: str) -> None:
    with pytest.raises(Discard, match="no type for an attachment"):
        check_attachment(Attachment(key="k", type=type))


def test_files_are_read_from_the_storage(folder: Folder) -> None:
    files = read_files([Attachment(key="reports/june.csv"), Attachment(key="terms.pdf")], folder, 20_000)
    assert [(file.name, len(file.content)) for file in files] == [("june.csv", 10), ("terms.pdf", 10240)]
    with pytest.raises(Discard, match=r"'missing.pdf' isn't in the storage"):
        read_files([Attachment(key="missing.pdf")], folder, 20_000)
    with pytest.raises(Discard, match="no key of the storage"):
        read_files([Attachment(key="../x")], folder, 20_000)
    with pytest.raises(Discard, match="has no storage"):
        read_files([Attachment(key="x")], None, 20_000)
    assert read_files([], None, 20_000) == []


def test_attachments_are_counted_as_they_are_sent(folder: Folder) -> None:
    size = encoded_size(10240)
    assert 0 <= size - len(base64.encodebytes(bytes(10240)).replace(b"\n", b"\r\n")) < 78
    read_files([Attachment(key="terms.pdf")], folder, size)
    folder.read.clear()
    with pytest.raises(Discard, match=r"too large: 'terms.pdf'"):
        read_files([Attachment(key="terms.pdf")], folder, size - 78)
    with pytest.raises(Discard, match="too large"):
        read_files([Attachment(key="terms.pdf"), Attachment(key="terms.pdf")], folder, 2 * size - 78)
    assert folder.read == ["terms.pdf"]  # what doesn't fit isn't read
