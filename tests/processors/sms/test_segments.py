"""How a text is billed: at the bounds of its parts."""

from __future__ import annotations

import pytest

from redqueue.processors.sms.segments import BASIC, EXTENSION, count_segments


def test_the_alphabet_has_the_sizes_of_the_standard() -> None:
    assert len(BASIC) == 127  # 128 places less the escape
    assert len(EXTENSION) == 10  # eight characters, the form feed, and the euro
    assert not BASIC & EXTENSION


@pytest.mark.parametrize(
    ("text", "segments"),
    [
        ("", 1),
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("a" * 306, 2),
        ("a" * 307, 3),
        ("€" * 80, 1),
        ("€" * 81, 2),
        ("é" * 160, 1),
        ("ê" * 70, 1),
        ("ê" * 71, 2),
        ("ê" * 134, 2),
        ("ê" * 135, 3),
        ("😀" * 35, 1),
        ("😀" * 36, 2),
        ("a" * 69 + "ê", 1),
        ("`" + "a" * 159, 3),  # the backtick is of no GSM alphabet: 160 characters of UCS-2
    ],
)
def test_a_text_has_as_many_segments_as_the_standard_says(text: str, segments: int) -> None:
    assert count_segments(text) == segments


def test_an_escaped_character_stays_whole_at_the_end_of_a_part() -> None:
    assert count_segments("a" * 152 + "€" + "a" * 152) == 3  # 306 septets, but the euro doesn't fit the first part
    assert count_segments("a" * 151 + "€" + "a" * 153) == 2


def test_a_surrogate_pair_stays_whole_at_the_end_of_a_part() -> None:
    assert count_segments("ê" * 66 + "😀" + "ê" * 66) == 3
    assert count_segments("ê" * 65 + "😀" + "ê" * 67) == 2
