"""Sealing what is stored of a job, and opening it again: signed, or encrypted. docs/design/0007-seals.md says why so.

A sealed text is ``ff``, a letter for how, the key's id after its length, the first 16 bytes of the SHA-256 of the job's
head, and then the signature and the text, or the nonce and what was encrypted. No text of redqueue's begins with ff.
"""

from __future__ import annotations

import re
from hashlib import sha256
from hmac import compare_digest
from hmac import digest as hmac_digest
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

from redqueue.errors import BadSignature, UnknownSealKey
from redqueue.seals import Encrypted, Seal

MARK: Final = b"\xff"
"""In no UTF-8, so neither JSON nor a line of a log begins with it."""

Purpose: TypeAlias = Literal["data", "result", "error", "checkpoint", "progress", "log"]

_VERSION: Final = b"redqueue seal 1"
_SIGNED: Final = b"s"
_ENCRYPTED: Final = b"e"
_HEAD: Final = 16
_MAC: Final = 32
_NONCE: Final = 12
_TAG: Final = 16
_KEY_ID: Final = re.compile(rb"[A-Za-z0-9_.-]{1,32}")
_BY_VERDICT: Final[dict[str, Purpose]] = {"c": "result", "f": "error", "r": "error"}
_BY_KIND: Final[dict[str, Purpose]] = {"p": "progress", "l": "log", "s": "checkpoint"}

_OF_SCRIPTS: Final = re.compile(
    rb'\{"type":"JobExpired","message":"nobody started it in time: its expires_in is over"\}'
    rb'|\{"type":"WorkerCrashed","message":"its worker died while it ran, [0-9]{1,9} times: it is not run again",'
    rb'"traceback":""\}'
)
"""The errors that scripts write, of jobs that no worker can seal one for. They say nothing but what they say."""


class ClaimedJob(Protocol):
    """What a claim brings of a job."""

    id: str
    envelope: bytes
    saved: bytes | None


class QueueSeal:
    """How the texts of one queue are sealed.

    Args:
        base: what the queue's keys begin with: its prefix and name.
    """

    __slots__ = ("_base", "_ring")

    def __init__(self, ring: Seal, base: str) -> None:
        self._ring = ring
        self._base = base.encode()

    def close(self, purpose: Purpose, job_id: str, head: bytes, text: bytes) -> bytes:
        """The text, sealed by the current key for this place alone."""
        ring = self._ring
        secret = ring.secret(ring.current)
        assert secret is not None
        how = _ENCRYPTED if isinstance(ring, Encrypted) else _SIGNED
        key_id, mark = ring.current.encode(), _digest(head)
        place = self._place(how, purpose, job_id, key_id, mark)
        body = _encrypt(secret, place, text) if how == _ENCRYPTED else _sign(secret, place, text) + text
        return b"".join((MARK, how, bytes((len(key_id),)), key_id, mark, body))

    def open(self, purpose: Purpose, job_id: str, stored: bytes | None, head: bytes | None = None) -> bytes:
        """The text that was sealed for this place.

        Args:
            head: of the job, where it is at hand: then it must be the one that was there when this was sealed.
        Raises:
            BadSignature: it isn't sealed and has to be; or not by this key, not for this place, or it was changed.
            UnknownSealKey: it is sealed by a key that isn't here.
        """
        if stored is None or not stored.startswith(MARK):
            return self._take_unsealed(purpose, job_id, stored)
        parts = _take_apart(stored)
        if parts is None:
            raise _bad(purpose, job_id)
        secret = self._ring.secret(parts.key_id.decode())
        if secret is None:
            ours = ", ".join(self._ring.key_ids)
            raise UnknownSealKey(
                f"job {job_id}: its {purpose} is sealed by the key {parts.key_id.decode()!r}; there are {ours}"
            )
        place = self._place(parts.how, purpose, job_id, parts.key_id, parts.head)
        text = _decrypt(secret, place, parts.body) if parts.how == _ENCRYPTED else _verify(secret, place, parts.body)
        if text is None or (head is not None and not compare_digest(parts.head, _digest(head))):
            raise _bad(purpose, job_id)
        return text

    def close_envelope(self, job_id: str, envelope: bytes) -> bytes:
        """The envelope with its data sealed. The head stays readable, and the seal covers it."""
        head, _, data = envelope.partition(b"\n")
        return b"%b\n%b" % (head, self.close("data", job_id, head, data))

    def open_envelope(self, job_id: str, stored: bytes) -> bytes:
        """The envelope as it was before it was sealed; nothing of it was decoded."""
        head, _, data = stored.partition(b"\n")
        return b"%b\n%b" % (head, self.open("data", job_id, data, head))

    def open_claimed(self, run: ClaimedJob) -> None:
        """Put what was sealed into a claimed job's envelope and checkpoint, once."""
        run.envelope = self.open_envelope(run.id, run.envelope)
        if run.saved is not None:
            run.saved = self.open("checkpoint", run.id, run.saved, head_of(run.envelope))

    def close_outcome(self, run: ClaimedJob, verdict: str, outcome: bytes | str) -> bytes | str:
        """A result or error, sealed; reasons stay readable, since scripts compare and copy them."""
        purpose = _BY_VERDICT.get(verdict[:1])
        if purpose is None:
            return outcome
        text = outcome if isinstance(outcome, bytes) else outcome.encode()
        return self.close(purpose, run.id, head_of(run.envelope), text)

    def close_report(self, run: ClaimedJob, kind: str, text: bytes) -> bytes:
        """What a run tells of itself, sealed."""
        return self.close(_BY_KIND[kind], run.id, head_of(run.envelope), text)

    def _take_unsealed(self, purpose: Purpose, job_id: str, stored: bytes | None) -> bytes:
        if stored is not None and purpose == "error" and _OF_SCRIPTS.fullmatch(stored):
            return stored
        if self._ring.required:
            raise BadSignature(f"job {job_id}: its {purpose} is not sealed, and here it must be")
        return stored or b""

    def _place(self, how: bytes, purpose: str, job_id: str, key_id: bytes, mark: bytes) -> bytes:
        """What a seal is for: each part after its length, so that no two places are the same bytes."""
        id = job_id.encode("utf-8", "backslashreplace")
        return b"".join(_counted(part) for part in (_VERSION, how, purpose.encode(), self._base, id, key_id, mark))


def refuse_sealed(what: Purpose, job_id: str, stored: bytes | None) -> None:
    """Raise what a reader without a key ring should learn of a text that it could not read.

    Raises:
        UnknownSealKey: it is sealed.
    """
    if stored is not None and stored.startswith(MARK) and _take_apart(stored) is not None:
        whose = f"job {job_id}: its" if job_id else "the"
        raise UnknownSealKey(f"{whose} {what} is sealed, and there is no key here: pass seal=")


def head_of(envelope: bytes) -> bytes:
    """The first line."""
    end = envelope.find(b"\n")
    return envelope if end < 0 else envelope[:end]


class _Parts(NamedTuple):
    how: bytes
    key_id: bytes
    head: bytes
    body: bytes


def _take_apart(stored: bytes) -> _Parts | None:
    how, size = stored[1:2], stored[2] if len(stored) > 2 else 0
    key_id, head, body = stored[3 : 3 + size], stored[3 + size : 3 + size + _HEAD], stored[3 + size + _HEAD :]
    least = _MAC if how == _SIGNED else _NONCE + _TAG
    if how not in (_SIGNED, _ENCRYPTED) or not _KEY_ID.fullmatch(key_id) or len(head) < _HEAD or len(body) < least:
        return None
    return _Parts(how, key_id, head, body)


def _sign(secret: bytes, place: bytes, text: bytes) -> bytes:
    return hmac_digest(secret, place + _counted(text), "sha256")


def _verify(secret: bytes, place: bytes, body: bytes) -> bytes | None:
    text = body[_MAC:]
    return text if compare_digest(body[:_MAC], _sign(secret, place, text)) else None


def _encrypt(secret: bytes, place: bytes, text: bytes) -> bytes:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    # A key a place, and a nonce of place and text: the same text gets the same bytes, and no two texts share a nonce.
    nonce = hmac_digest(secret, _counted(b"nonce") + place + _counted(text), "sha256")[:_NONCE]
    return nonce + AESGCM(_key_of(secret, place)).encrypt(nonce, text, place)


def _decrypt(secret: bytes, place: bytes, body: bytes) -> bytes | None:
    try:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError:
        raise UnknownSealKey("it is encrypted, which needs the extra 'encryption' here") from None
    try:
        return AESGCM(_key_of(secret, place)).decrypt(body[:_NONCE], body[_NONCE:], place)
    except InvalidTag:
        return None


def _key_of(secret: bytes, place: bytes) -> bytes:
    return hmac_digest(secret, _counted(b"key") + place, "sha256")


def _digest(head: bytes) -> bytes:
    return sha256(head).digest()[:_HEAD]


def _counted(part: bytes) -> bytes:
    return len(part).to_bytes(8, "big") + part


def _bad(purpose: Purpose, job_id: str) -> BadSignature:
    return BadSignature(f"job {job_id}: its {purpose} was not sealed for this job by a key of ours, or was changed")
