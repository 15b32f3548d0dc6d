"""How many messages a text is billed as.

The alphabet and its extension are those of 3GPP TS 23.038, 6.2.1 and 6.2.1.1; lengths of parts follow from the 140
octets of a message and the 6 octets of a concatenation header (3GPP TS 23.040, 9.2.3.24.1). National language tables
are left out, as no provider promises them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

BASIC: Final = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
EXTENSION: Final = frozenset("\f^{}\\[~]|€")
"""Written as an escape and a septet: two, which a part's end doesn't separate."""

SEPTETS_ALONE: Final = 160
SEPTETS_A_PART: Final = 153
UNITS_ALONE: Final = 70
UNITS_A_PART: Final = 67


def count_segments(text: str) -> int:
    """How many parts the text is sent in: one for an empty one.

    GSM-7 when every character is of its alphabet, else UCS-2, in which a character beyond the basic plane takes two
    units, which stay together.
    """
    if all(char in BASIC or char in EXTENSION for char in text):
        return _parts([2 if char in EXTENSION else 1 for char in text], SEPTETS_ALONE, SEPTETS_A_PART)
    return _parts([2 if char > "\uffff" else 1 for char in text], UNITS_ALONE, UNITS_A_PART)


def _parts(widths: Iterable[int], alone: int, a_part: int) -> int:
    sizes = list(widths)
    if sum(sizes) <= alone:
        return 1
    parts, used = 1, 0
    for size in sizes:
        if used + size > a_part:
            parts, used = parts + 1, 0
        used += size
    return parts
