"""One recipient as a job says it: "ada@example.com" or "Ada <ada@example.com>", and nothing that forges a header."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from email.headerregistry import Address
from typing import Final

from redqueue.processors.email.errors import BadAddress, UnsafeText

LONGEST_LOCAL: Final = 64
LONGEST_SPEC: Final = 254
"""Of an address, in octets: RFC 5321, 4.5.3.1, and erratum 1690 of RFC 3696."""

_ENTRY: Final = re.compile(r"([^<>]*)<([^<>]+)>")
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u0080-\U0010ffff-]+"
_LOCAL: Final = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_DEVIATING: Final = frozenset("ßς\u200c\u200d")
_FORGES: Final = frozenset({"Cc", "Zl", "Zp", "Cs"})


@dataclass(frozen=True, slots=True)
class Mailbox:
    """An address, and the name that people read. The domain is in ASCII, the local part as it was said."""

    name: str
    local: str
    domain: str

    @property
    def spec(self) -> str:
        """As a server is told it."""
        return f"{self.local}@{self.domain}"

    @property
    def needs_utf8(self) -> bool:
        """Whether only a server with SMTPUTF8 (RFC 6531) takes it."""
        return not self.local.isascii()

    def __str__(self) -> str:
        return str(Address(self.name, self.local, self.domain))


def check_line(what: str, text: str) -> str:
    """Text of one line, to be read as it is.

    Encoded words (RFC 2047) are refused, too: Python decodes them when a header is set, and what was encoded, a line
    break say, can then stand in the message as it is.

    Raises:
        UnsafeText: it has a control character, another line break, half a surrogate pair, or an encoded word.
    """
    if any(unicodedata.category(mark) in _FORGES for mark in text):
        raise UnsafeText(f"{what} has a line break or another control character: leave it out")
    start = text.find("=?")
    if start >= 0 and "?=" in text[start + 2 :]:
        raise UnsafeText(f"{what} has an encoded word (=?...?=): give the text as it is to be read")
    return text


def parse_address(text: str) -> Mailbox:
    """Read one address, strictly: no lists, comments, quoted local parts or IP addresses.

    Raises:
        UnsafeText: it has what could forge a header: whoever wrote it meant more than an address.
        BadAddress: no mail can be sent to it.
    """
    check_line("the address", text)
    if "=?" in text:  # half an encoded word: the next address could have the other half
        raise UnsafeText("the address has the start of an encoded word (=?): leave it out")
    name, spec = "", text.strip()
    if entry := _ENTRY.fullmatch(spec):
        name, spec = entry[1].strip(), entry[2].strip()
        if quoted := _QUOTED.fullmatch(name):
            name = re.sub(r"\\(.)", r"\1", quoted[1])
    local, at, domain = unicodedata.normalize("NFC", spec).rpartition("@")
    if not at:
        raise BadAddress("no address: it has no @")
    if not _LOCAL.fullmatch(local) or not local.isprintable() or any(mark.isspace() for mark in local):
        raise BadAddress("no address: what stands before the @ has characters that it can't have")
    mailbox = Mailbox(name, local, _ascii_domain(domain))
    if len(local.encode()) > LONGEST_LOCAL or len(mailbox.spec.encode()) > LONGEST_SPEC:
        raise BadAddress(f"no address: longer than {LONGEST_SPEC} bytes, or {LONGEST_LOCAL} before the @")
    return mailbox


def _ascii_domain(domain: str) -> str:
    if len(domain) > LONGEST_SPEC:
        raise BadAddress("no address: its domain is too long")
    if _DEVIATING & set(domain):
        # Python follows IDNA 2003, which makes "ss" of "ß": by today's rules that is somebody else's domain.
        raise BadAddress("the domain has a character that old and new rules read differently: write it as xn--")
    try:
        ascii_domain = domain.encode("idna").decode().lower()
    except UnicodeError:
        raise BadAddress("no address: its domain can't be written in ASCII") from None
    if not _DOMAIN.fullmatch(ascii_domain):
        raise BadAddress("no address: its domain has characters that it can't have")
    return ascii_domain
