"""Where an export's file is."""

from __future__ import annotations

from hashlib import sha256
from typing import Final
from urllib.parse import quote

from redqueue.processors.data_export.formats import EXTENSIONS
from redqueue.shapes import DataExportJobData

_LONGEST: Final = 120
"""Of a part of the key as it is, in bytes; what is cut is longer, so it is no other's. File systems take 255."""


def export_key(data: DataExportJobData, job_id: str, queue: str = DataExportJobData.job_type) -> str:
    """``exports/<sub-account>/<export type>/<job>.<extension>``, the same for every run of the job.

    Of a job in another queue than `data-export` it has the queue as a folder: ``.../<queue>/<job>.<extension>``.

    What isn't plain in the parts is encoded, and a long part ends in its hash: no two give the same key, and none
    leaves its folder.
    """
    folder = f"exports/{part(data.sub_account_id)}/{part(data.export_type)}"
    if queue != data.job_type:
        folder += "/" + part(queue).replace(".", "~2E")  # no folder may have a file's name
    return f"{folder}/{part(job_id)}.{EXTENSIONS[data.format]}"


def part(text: str) -> str:
    """The text as one part of a key: percent-encoded with a tilde for the percent, which links would encode again."""
    plain = quote(text, safe="", errors="replace").replace("~", "%7E").replace("%", "~")
    if plain.startswith("."):
        plain = "~2E" + plain[1:]
    if len(plain) <= _LONGEST:
        return plain
    return f"{plain[: _LONGEST - 64]}~{sha256(text.encode(errors='replace')).hexdigest()}"
