"""The text of a small HTML page, for readers of mail that show none."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Final

_UNSEEN: Final = frozenset({"head", "script", "style", "template", "title"})
_BLOCKS: Final = frozenset(
    {"address", "article", "aside", "blockquote", "div", "footer", "form", "header", "hr", "main", "nav", "section"}
    | {"dl", "dt", "dd", "li", "tr", "table", "ul", "ol"}
)
_PARAGRAPHS: Final = frozenset({"h1", "h2", "h3", "h4", "h5", "h6", "p", "pre"})


def text_of(html: str) -> str:
    """Paragraphs, list items and table rows on lines of their own; of a link, its words and where it leads."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return reader.text()


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._parts: list[str] = []
        self._unseen = 0
        self._links: list[tuple[str, int]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _UNSEEN:
            self._unseen += 1
        elif tag == "br":
            self._parts.append("\n")
        elif tag == "a":
            self._links.append((dict(attrs).get("href") or "", len(self._parts)))
        elif tag in ("td", "th"):
            self._parts.append(" ")
        elif tag == "img":
            self._parts.append(dict(attrs).get("alt") or "")
        else:
            self._break(tag)
            if tag == "li":
                self._parts.append("- ")

    def handle_endtag(self, tag: str) -> None:
        if tag in _UNSEEN:
            self._unseen = max(0, self._unseen - 1)
        elif tag == "a" and self._links:
            href, since = self._links.pop()
            if ":" in href and href not in "".join(self._parts[since:]):
                self._parts.append(f" ({href})")
        else:
            self._break(tag)

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            self._parts.append(re.sub(r"\s+", " ", data))

    def text(self) -> str:
        lines = (re.sub(r" {2,}", " ", line).strip() for line in "".join(self._parts).split("\n"))
        return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"

    def _break(self, tag: str) -> None:
        if tag in _PARAGRAPHS:
            self._parts.append("\n\n")
        elif tag in _BLOCKS and not (self._parts and self._parts[-1].endswith("\n")):
            self._parts.append("\n")
