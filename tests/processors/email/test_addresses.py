"""One address, read strictly; and text that could forge a header."""

from __future__ import annotations

import pytest
from aiosmtplib.email import quote_address
from hypothesis import given, settings
from hypothesis import strategies as st

from redqueue.processors.email import BadAddress, UnsafeText, parse_address
from redqueue.processors.email.addresses import check_line


@pytest.mark.parametrize(
    ("text", "name", "spec"),
    [
        ("ada@example.com", "", "ada@example.com"),
        ("  ada+news@Example.COM ", "", "ada+news@example.com"),
        ("Ada <ada@example.com>", "Ada", "ada@example.com"),
        ("<ada@example.com>", "", "ada@example.com"),
        ("Lovelace, Ada <ada@example.com>", "Lovelace, Ada", "ada@example.com"),
        (r'"Ada \"the first\" L." <ada@example.com>', 'Ada "the first" L.', "ada@example.com"),
        ("Zoë <zoë@example.com>", "Zoë", "zoë@example.com"),
        ("zoe\u0308@example.com", "", "zoë@example.com"),
        ("ada@bücher.example", "", "ada@xn--bcher-kva.example"),
        ("ada@localhost", "", "ada@localhost"),
        ("root@" + "a" * 63 + ".example", "", "root@" + "a" * 63 + ".example"),
        ("boss@evil.example <ada@example.com>", "boss@evil.example", "ada@example.com"),
    ],
)
def test_an_address_with_and_without_a_name(text: str, name: str, spec: str) -> None:
    mailbox = parse_address(text)
    assert (mailbox.name, mailbox.spec) == (name, spec)
    assert parse_address(str(mailbox)) == mailbox


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ada",
        "@example.com",
        "ada@",
        "ada@@example.com",
        "ada@example.com, bob@example.com",
        "Ada <ada@example.com>, <bob@example.com>",
        "Ada <ada@example.com> SIZE=1",
        "a b@example.com",
        "a\u00a0b@example.com",
        "a..b@example.com",
        ".a@example.com",
        '"a b"@example.com',
        "(hi)ada@example.com",
        "ada@[127.0.0.1]",
        "ada@exa mple.com",
        "ada@-example.com",
        "ada@example..com",
        "ada@example.com.",
        "ada@" + "a" * 64 + ".example",
        "ada@straße.example",
        "a" * 65 + "@example.com",
        "ö" * 33 + "@example.com",
        "a@" + "x." * 150 + "example",
        "a@" + "ü" * 300,
    ],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(BadAddress):
        parse_address(text)


FORGING = [
    "a@b\r\nBcc: x@example.com",
    "a@b\nBcc: x@example.com",
    "a@b\rBcc: x@example.com",
    "a@b\0",
    "Ada\r\n <a@b>",
    "a@b\x85Bcc: x@example.com",
    "a@b\u2028Bcc: x@example.com",
    "Ada\x0b <a@b>",
    "=?utf-8?q?a=0D=0ABcc=3A_x@example.com?= <a@b>",
    "=?utf-8?q?x=0D=0A <a@b>",
    "\ud800 <a@b>",
]


@pytest.mark.parametrize("text", FORGING)
def test_an_address_that_forges_a_header_is_refused(text: str) -> None:
    with pytest.raises(UnsafeText) as refused:
        parse_address(text)
    assert "example.com" not in str(refused.value)


def test_an_encoded_word_is_refused_and_a_question_is_not() -> None:
    assert check_line("the subject", "is 1+1=? or is it ?") == "is 1+1=? or is it ?"
    with pytest.raises(UnsafeText, match="encoded word"):
        check_line("the subject", "hello =?utf-8?q?there?=")


@settings(deadline=None, max_examples=80)  # the machine may be busy
@given(st.text(max_size=100) | st.text(alphabet="az09!#$%&'*+/=?^_`{|}~-.é漢(\\", max_size=30))
def test_any_text_is_an_address_of_one_line_or_refused(text: str) -> None:
    for candidate in (text, f"{text}@example.com", f"a@{text}", f"{text} <a@example.com>"):
        try:
            mailbox = parse_address(candidate)
        except (BadAddress, UnsafeText):
            continue
        assert len(mailbox.spec.split()) == 1
        assert len(str(mailbox).splitlines()) == 1
        assert mailbox.domain.isascii()
        assert quote_address(mailbox.spec) == f"<{mailbox.spec}>"  # as it is said to a server
