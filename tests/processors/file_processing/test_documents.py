"""Text of PDFs."""

from __future__ import annotations

import io
import zlib

import pytest
from pypdf import PdfReader, PdfWriter
from reportlab.pdfgen.canvas import Canvas

from redqueue.processors.file_processing import Limits
from redqueue.shapes import Text

from .conftest import Desk, image_bytes


def pdf(*pages: str) -> bytes:
    out = io.BytesIO()
    canvas = Canvas(out)
    for text in pages:
        canvas.drawString(72, 720, text)
        canvas.showPage()
    canvas.save()
    return out.getvalue()


def encrypted(user_password: str) -> bytes:
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(pdf("secret"))))
    writer.encrypt(user_password, "owner", algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def test_the_text_of_all_pages(desk: Desk) -> None:
    desk.put("in.pdf", pdf("Invoice 17", "Grüße"))
    result = desk.process("in.pdf", "out.txt", Text())
    text = (desk.root / "out.txt").read_text("utf-8")
    assert [page.strip() for page in text.split("\f")] == ["Invoice 17", "Grüße"]
    assert result.details == [{"op": "text", "pages": 2, "bytes": len(text.encode())}]


def test_a_pdf_without_a_password_to_open_it_is_read(desk: Desk) -> None:
    desk.put("in.pdf", encrypted(""))
    desk.process("in.pdf", "out.txt", Text())
    assert "secret" in (desk.root / "out.txt").read_text()


def test_an_encrypted_pdf_fails(desk: Desk) -> None:
    desk.put("in.pdf", encrypted("canary"))
    assert "the PDF is encrypted" in desk.refusal("in.pdf", "out.txt", Text())


def test_more_than_the_limits_fails(desk: Desk) -> None:
    desk.put("in.pdf", pdf("x" * 60, "x" * 60))
    assert "2 pages, more than 1" in desk.refusal("in.pdf", "out.txt", Text(), limits=Limits(pages=1))
    assert "100 bytes of text" in desk.refusal("in.pdf", "out.txt", Text(), limits=Limits(text=100))


@pytest.mark.parametrize("data", [b"", b"hello", b"%PD", image_bytes("PNG")], ids=["empty", "text", "short", "image"])
def test_what_is_no_pdf_fails(desk: Desk, data: bytes) -> None:
    desk.put("in.pdf", data)
    assert "no PDF" in desk.refusal("in.pdf", "out.txt", Text())


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6])
def test_a_truncated_pdf_fails(desk: Desk, share: float) -> None:
    data = pdf("hello " * 10)
    desk.put("in.pdf", data[: int(len(data) * share)])
    assert "PDF" in desk.refusal("in.pdf", "out.txt", Text())


def test_a_stream_that_inflates_to_gigabytes_fails(desk: Desk) -> None:
    stream = zlib.compress(b" " * 80_000_000, 9)
    parts = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents 4 0 R /Resources 5 0 R >>",
        b"<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >>",
    ]
    data, places = b"%PDF-1.4\n", []
    for number, part in enumerate(parts, 1):
        places.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, part)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    start = len(data)
    data += b"xref\n0 6\n0000000000 65535 f \n" + table
    data += b"trailer\n<< /Root 1 0 R /Size 6 >>\nstartxref\n%d\n%%%%EOF" % start
    desk.put("in.pdf", data)
    assert "LimitReachedError" in desk.refusal("in.pdf", "out.txt", Text())
