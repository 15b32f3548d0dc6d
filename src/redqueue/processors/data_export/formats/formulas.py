"""What a spreadsheet takes for a formula."""

from __future__ import annotations

from typing import Final

_BEGINS: Final = frozenset("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
"""The last four are fullwidth forms, which spreadsheets of East Asian locales take for the same."""


def begins_formula(text: str) -> bool:
    """Whether the text begins with ``= + - @``, a fullwidth form of them, a tab or a line's end.

    Or does so behind blanks and invisible characters, which some programs drop first (OWASP, "CSV Injection").
    """
    if not text or text[0].isalnum():
        return False
    return text[0] in _BEGINS or _first_seen(text) in _BEGINS


def _first_seen(text: str) -> str:
    return next((mark for mark in text if mark.isprintable() and not mark.isspace()), "")
