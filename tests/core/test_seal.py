"""What is sealed opens in its own place, by a key of the ring, unchanged; and nowhere else."""

from __future__ import annotations

import pickle
import re
import sys
from typing import Any, Final, get_args

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from redqueue import (
    AsyncQueue,
    BadSignature,
    Encrypted,
    InvalidOption,
    JobQueueService,
    MissingExtra,
    Queue,
    Signed,
    UnknownSealKey,
    Worker,
)
from redqueue.core.keys import Keys
from redqueue.core.lease import recover
from redqueue.core.script import load
from redqueue.core.seal import MARK, Purpose, QueueSeal, refuse_sealed
from redqueue.seals import Seal

OLD: Final = bytes(range(32))
NEW: Final = bytes(range(32, 64))
HEAD: Final = b'["sms","",1]'
TEXT: Final = b'{"to":"+49"}'
PURPOSES: Final[tuple[Purpose, ...]] = get_args(Purpose)
KINDS: Final = (Signed, Encrypted)

each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


def seal_of(ring: Seal, queue: str = "q", prefix: str = "redqueue") -> QueueSeal:
    seal = Keys(queue, prefix, ring).seal
    assert seal is not None
    return seal


def ring(kind: type[Signed], **options: Any) -> Seal:
    return kind({"2026-11": OLD}, **options)


@each_kind
@pytest.mark.parametrize("purpose", PURPOSES)
def test_what_is_sealed_opens_in_its_place(kind: type[Signed], purpose: Purpose) -> None:
    seal = seal_of(ring(kind))
    for text in (b"", TEXT, b"\xff\x00\n", b"x" * 100_000):
        stored = seal.close(purpose, "a", HEAD, text)
        assert stored.startswith(MARK)
        assert seal.open(purpose, "a", stored) == text
        assert seal.open(purpose, "a", stored, HEAD) == text
        assert stored == seal.close(purpose, "a", HEAD, text)  # a call that is sent again is the same bytes


@each_kind
def test_a_text_opens_nowhere_else(kind: type[Signed]) -> None:
    """X16: payloads don't move between purposes, jobs, queues, prefixes and heads."""
    stored = seal_of(ring(kind)).close("data", "a", HEAD, TEXT)
    for purpose in PURPOSES[1:]:
        with pytest.raises(BadSignature):
            seal_of(ring(kind)).open(purpose, "a", stored)
    with pytest.raises(BadSignature):
        seal_of(ring(kind)).open("data", "b", stored)
    with pytest.raises(BadSignature):
        seal_of(ring(kind)).open("data", "a", stored, b'["other","",1]')
    for other in (seal_of(ring(kind), queue="q2"), seal_of(ring(kind), prefix="other")):
        with pytest.raises(BadSignature):
            other.open("data", "a", stored)


@each_kind
def test_no_bit_can_be_changed(kind: type[Signed]) -> None:
    """X16: a flip of any bit, a cut and an addition are refused, and nothing but redqueue's own error is raised."""
    seal = seal_of(ring(kind))
    stored = seal.close("data", "a", HEAD, TEXT)
    changed = [
        stored[:n] + bytes((stored[n] ^ 1 << bit,)) + stored[n + 1 :] for n in range(len(stored)) for bit in range(8)
    ]
    changed += [stored[:n] for n in range(len(stored))] + [stored + b"x", b"x" + stored]
    for one in changed:
        with pytest.raises(BadSignature):
            seal.open("data", "a", one, HEAD)


@each_kind
def test_an_old_key_opens_and_the_current_one_seals(kind: type[Signed]) -> None:
    """X16: rotation."""
    before = seal_of(kind({"old": OLD}))
    between = seal_of(kind({"old": OLD, "new": NEW}, "old"))
    after = seal_of(kind({"old": OLD, "new": NEW}, "new"))
    alone = seal_of(kind({"new": NEW}))
    assert between.close("data", "a", HEAD, TEXT) == before.close("data", "a", HEAD, TEXT)
    assert after.open("data", "a", before.close("data", "a", HEAD, TEXT)) == TEXT
    assert between.open("data", "a", after.close("data", "a", HEAD, TEXT)) == TEXT
    assert alone.open("data", "a", after.close("data", "a", HEAD, TEXT)) == TEXT
    with pytest.raises(UnknownSealKey, match="'old'; there are new"):
        alone.open("data", "a", before.close("data", "a", HEAD, TEXT))


@each_kind
def test_a_key_of_the_same_id_and_another_secret_opens_nothing(kind: type[Signed]) -> None:
    stored = seal_of(kind({"k": OLD})).close("data", "a", HEAD, TEXT)
    with pytest.raises(BadSignature) as caught:
        seal_of(kind({"k": NEW})).open("data", "a", stored)
    assert not isinstance(caught.value, UnknownSealKey)


@each_kind
def test_what_is_not_sealed_is_refused_where_it_must_be(kind: type[Signed]) -> None:
    seal, lenient = seal_of(ring(kind)), seal_of(ring(kind, required=False))
    for text in (b"", b"null", b'{"a":1}', b"~s", None):
        with pytest.raises(BadSignature, match="not sealed"):
            seal.open("result", "a", text)
        assert lenient.open("result", "a", text) == (text or b"")
    stored = lenient.close("result", "a", HEAD, TEXT)
    assert lenient.open("result", "a", stored) == TEXT
    with pytest.raises(BadSignature):  # what is sealed must be sealed well
        lenient.open("result", "b", stored)


def test_a_ring_opens_what_the_other_kind_sealed_by_its_keys() -> None:
    signed, encrypted = seal_of(ring(Signed)), seal_of(ring(Encrypted))
    assert encrypted.open("data", "a", signed.close("data", "a", HEAD, TEXT)) == TEXT
    assert signed.open("data", "a", encrypted.close("data", "a", HEAD, TEXT)) == TEXT


def test_the_kind_is_part_of_what_is_signed() -> None:
    stored = bytearray(seal_of(ring(Signed)).close("data", "a", HEAD, TEXT))
    stored[1:2] = b"e"
    with pytest.raises(BadSignature):
        seal_of(ring(Encrypted)).open("data", "a", bytes(stored))


def test_what_is_encrypted_shows_nothing_of_the_text() -> None:
    secret = b"the-credit-card-of-alice"
    first, second = (seal_of(ring(Encrypted)).close("data", id, HEAD, secret) for id in ("a", "b"))
    assert not any(secret[n : n + 4] in first for n in range(len(secret) - 3))
    assert first[-len(secret) - 16 :] != second[-len(secret) - 16 :]
    assert secret in seal_of(ring(Signed)).close("data", "a", HEAD, secret)


@each_kind
@given(
    stored=st.binary() | st.binary().map(lambda more: MARK + more) | st.binary().map(lambda more: b"\xffs\x07" + more)
)
@example(stored=b"\xffs\x072026-11" + b"\0" * 48)
@example(stored=b"\xffe\x072026-11" + b"\0" * 44)
@example(stored=b"\xffs\xff")
def test_any_bytes_give_a_bad_signature(kind: type[Signed], stored: bytes) -> None:
    with pytest.raises(BadSignature):
        seal_of(ring(kind)).open("data", "a", stored, HEAD)


def test_the_errors_that_scripts_write_are_taken_as_they_are() -> None:
    seal = seal_of(ring(Signed))
    crashed = recover(Keys("q", "redqueue"), 3)
    own: bytes = next(arg for arg in crashed.args if isinstance(arg, bytes))
    found = re.search(r"local EXPIRED = '(.*)'", load("pump").text)
    assert found
    for text in (own, found[1].encode()):
        assert seal.open("error", "a", text) == text
        assert msgspec.json.decode(text)["type"] in ("WorkerCrashed", "JobExpired")
        with pytest.raises(BadSignature):
            seal.open("result", "a", text)
        with pytest.raises(BadSignature):
            seal.open("error", "a", text + b" ")
    with pytest.raises(BadSignature):
        seal.open("error", "a", own.replace(b"its worker", b"<script>"))


def test_a_reader_without_keys_learns_why_it_cannot_read() -> None:
    stored = seal_of(ring(Signed)).close("data", "a", HEAD, TEXT)
    with pytest.raises(UnknownSealKey, match=r"job a: its data is sealed.*seal="):
        refuse_sealed("data", "a", stored)
    refuse_sealed("data", "a", TEXT)
    refuse_sealed("data", "a", None)


@each_kind
def test_a_ring_shows_no_secret(kind: type[Signed]) -> None:
    """X15: not in repr, not in errors, not pickled."""
    secret = b"canary-in-a-key-ring-" + b"x" * 20
    held = kind({"k1": secret, "k2": secret}, "k1")
    assert "canary" not in repr(held) + str(held) + f"{held!r}"
    assert repr(held) == f"<{kind.__name__} by 'k1' of k1, k2>"
    with pytest.raises(TypeError):
        pickle.dumps(held)
    for keys, current in (
        ({"k": secret[:31]}, None),
        ({secret.decode() + "?": secret}, None),
        ({"k": secret}, secret.decode()),
    ):
        with pytest.raises(InvalidOption) as caught:
            kind(keys, current)
        assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "current", "message"),
    [
        ({}, None, "at least one"),
        ([OLD], None, "mapping"),
        ({"a b": OLD}, None, "a key's id"),
        ({"": OLD}, None, "a key's id"),
        ({"k" * 33: OLD}, None, "a key's id"),
        ({"k": b"short"}, None, "at least 32 random bytes, not 5 bytes"),
        ({"k": "x" * 32}, None, "not a str"),
        ({"k": OLD, "l": NEW}, None, "current must name one of the keys \\(k, l\\), when there are several"),
        ({"k": OLD}, "l", "current must name one"),
    ],
)
def test_a_ring_that_cannot_work_is_refused(keys: Any, current: Any, message: str) -> None:
    with pytest.raises(InvalidOption, match=message):
        Signed(keys, current)


def test_encrypting_without_its_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = seal_of(ring(Encrypted)).close("data", "a", HEAD, TEXT)
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    with pytest.raises(MissingExtra, match=r"redqueue-jobs\[encryption\]"):
        ring(Encrypted)
    with pytest.raises(UnknownSealKey, match="needs the extra 'encryption'"):
        seal_of(ring(Signed)).open("data", "a", stored)


def test_what_is_no_key_ring_is_refused() -> None:
    makers: Any = [
        (Queue, ["q"]),
        (AsyncQueue, ["q"]),
        (JobQueueService, []),
        (Worker, [["q"]]),
    ]
    for make, args in makers:
        with pytest.raises(InvalidOption, match=r"seal must be Signed\(\.\.\.\) or Encrypted\(\.\.\.\), not a bytes"):
            make(*args, url="redis://localhost:1", seal=b"secret")
