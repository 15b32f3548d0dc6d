"""Foreign text, as a line of a log or an error can show it."""

from __future__ import annotations


def legible(text: str, most: int = 200) -> str:
    """At most so many characters, those that control a terminal, a line or a direction written as escapes."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[:most])[:most]
