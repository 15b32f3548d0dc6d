"""Text of PDFs, by pypdf."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from redqueue.errors import Discard, JobCancelled, MissingExtra
from redqueue.processors.file_processing.bench import Bench
from redqueue.processors.file_processing.limits import told

try:
    from pypdf import PdfReader
except ImportError as missing:
    raise MissingExtra("files", "text of PDFs") from missing

MAGIC = b"%PDF-"
MAGIC_WITHIN = 1_024
"""Bytes in which a reader looks for it (PDF 1.7 reference, appendix H.3, note 13)."""


def extract_text(path: Path, to: Path, bench: Bench) -> dict[str, Any]:
    """Write the text of a PDF as UTF-8, a form feed between pages.

    Raises:
        Discard: it is none, is encrypted or damaged, or has too many pages or too much text.
    """
    with path.open("rb") as file:
        if MAGIC not in file.read(MAGIC_WITHIN):
            raise Discard("the file is no PDF")
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it quotes what it reads
    try:
        return _extract(path, to, bench)
    except (Discard, JobCancelled, MemoryError):
        raise
    except Exception as error:  # there are many ways to be no PDF
        raise Discard(f"the PDF can't be read: {told(error)}") from error


def _extract(path: Path, to: Path, bench: Bench) -> dict[str, Any]:
    limits = bench.limits
    reader = PdfReader(path)
    if reader.is_encrypted and not reader.decrypt(""):
        raise Discard("the PDF is encrypted: it opens with a password only")
    pages = len(reader.pages)
    if pages > limits.pages:
        raise Discard(f"the PDF has {pages:,} pages, more than {limits.pages:,}")
    size = 0
    with to.open("wb") as file:
        for number, page in enumerate(reader.pages):
            bench.context.raise_if_cancelled()
            text = (("\f" if number else "") + page.extract_text()).encode("utf-8", "replace")
            size += len(text)
            if size > limits.text:
                raise Discard(f"the PDF has more than {limits.text:,} bytes of text")
            file.write(text)
            bench.tell((number + 1) / pages)
    return {"pages": pages, "bytes": size}
