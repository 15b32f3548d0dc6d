"""The envelope: what is stored of a job, once, in bytes that Lua never reads.

A line of JSON, the head, and the data behind it. The head is read to route, show and steer the job; the data only by
the function that it is for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import msgspec

from redqueue.core.bombs import MAX_DEPTH as MAX_DEPTH
from redqueue.core.bombs import bomb_in
from redqueue.defaults import MAX_LABEL, MAX_PAYLOAD
from redqueue.errors import CorruptEnvelope, PayloadNotSerializable, PayloadTooLarge
from redqueue.options import NOTHING_GIVEN, Given

FORMAT: Final = "1"
"""The version of all that is stored. A client that finds another one refuses to touch the queue."""

LONGEST_HEAD: Final = 8192
"""In bytes. Looking at a job reads that much of its envelope, and never the data of a large one."""

_PLAIN_HEAD: Final = 128
_NOTHING_SAID: Final = b",null,null,{}]"
# Found when all digits are zeros: a regular expression takes ten times as long, 38 ms of 1 MiB.
_LONG_NUMBER: Final = b"0" * 19
_AS_ZERO: Final = bytes.maketrans(b"123456789", b"0" * 9)
_MAX_ASKER: Final = 128


class Head(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What is known of a job without reading its data."""

    job_type: str
    label: str
    created_ms: int
    sub_account_id: str | None = None
    user_id: str | None = None
    given: Given = NOTHING_GIVEN


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """A stored job, taken apart: the data is still encoded."""

    head: Head
    data: bytes


def seal(head: Head, data: bytes) -> bytes:
    """The envelope's bytes. A head that ends in nothing said ends sooner: 13 bytes of each waiting job."""
    encoded = _encode(head)
    if encoded.endswith(_NOTHING_SAID):
        encoded = encoded[: -len(_NOTHING_SAID)] + b"]"
    return b"%b\n%b" % (encoded, data)


def open_envelope(job_id: str, stored: bytes) -> Envelope:
    """The envelope of stored bytes.

    Raises:
        CorruptEnvelope: they are not what `seal` made.
    """
    head, _, data = stored.partition(b"\n")
    if len(head) > _PLAIN_HEAD:  # below that nothing can be nested deep
        _check_head(job_id, head)
    try:
        return Envelope(_decode_head(head), data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CorruptEnvelope(f"job {job_id}: what Redis holds is not a job of redqueue's: {error}") from error


def _check_head(job_id: str, head: bytes) -> None:
    if len(head) > LONGEST_HEAD:
        raise CorruptEnvelope(f"job {job_id}: its head is {len(head):,} bytes, which redqueue never writes")
    if problem := bomb_in(head):
        raise CorruptEnvelope(f"job {job_id}: its head is {problem}, which redqueue never writes")


def encode_data(data: object) -> bytes:
    """A payload as JSON, unchanged by the way there and back.

    Raises:
        PayloadNotSerializable: it holds what JSON can't carry, by its path.
        PayloadTooLarge: more than 1 MiB.
    """
    encoded = encode_json(data)
    if len(encoded) > MAX_PAYLOAD:
        raise PayloadTooLarge(
            f"the data is {len(encoded):,} bytes as JSON, more than {MAX_PAYLOAD:,}: "
            "store it elsewhere and pass its key",
            size=len(encoded),
            limit=MAX_PAYLOAD,
        )
    return encoded


def encode_json(data: object) -> bytes:
    """Any value as JSON that decodes to an equal one.

    msgspec writes NaN as null, a set as an array and number keys as text without a word, so what has no annotation to
    bring them back is looked through.

    Raises:
        PayloadNotSerializable: where and why.
    """
    _look_through(data, "$", 0)
    try:
        encoded = _encode(data)
        if b"null" in encoded or _LONG_NUMBER in encoded.translate(_AS_ZERO):
            _look_through(msgspec.to_builtins(data, str_keys=True, enc_hook=_plain), "$", 0)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        if isinstance(error, PayloadNotSerializable):
            raise
        raise PayloadNotSerializable(f"the data can't be written as JSON: {error}") from error
    return encoded


def make_head(
    job_type: str,
    label: str,
    created_ms: int,
    data: object,
    given: Given,
    *,
    sub_account_id: str | None = None,
    user_id: str | None = None,
) -> Head:
    """The head of a job; who asked is taken from the data when it isn't given.

    Raises:
        PayloadTooLarge: the label has more than 256 characters, or an id of who asked more than 128.
    """
    sub_account_id = sub_account_id or _asker(data, "subAccountId", "sub_account_id")
    user_id = user_id or _asker(data, "userId", "user_id")
    _bound("label", label, MAX_LABEL)
    if sub_account_id:
        _bound("sub_account_id", sub_account_id, _MAX_ASKER)
    if user_id:
        _bound("user_id", user_id, _MAX_ASKER)
    return Head(job_type, label, created_ms, sub_account_id, user_id, given)


_SCALARS: Final = frozenset((str, bool, type(None)))


def _look_through(value: object, path: str, depth: int) -> None:
    """Raise for what JSON would change in values that carry no annotation; typed ones are msgspec's affair."""
    kind = type(value)
    if kind is dict or isinstance(value, Mapping):
        _check_depth(path, depth)
        for key, item in value.items():  # type: ignore[attr-defined]
            if type(key) is not str:
                raise _refused(path, f"a key of type {type(key).__name__}: JSON has only text keys")
            if type(item) not in _SCALARS:  # most are, and need no path
                _look_through(item, f"{path}.{key}", depth + 1)
    elif isinstance(value, list | tuple):
        _check_depth(path, depth)
        for n, item in enumerate(value):
            if type(item) not in _SCALARS:
                _look_through(item, f"{path}[{n}]", depth + 1)
    elif kind is int:
        if not -(2**63) <= value < 2**64:  # type: ignore[operator]
            raise _refused(path, "an integer beyond 64 bits: pass it as text")
    elif kind is float:
        if not math.isfinite(value):  # type: ignore[arg-type]
            raise _refused(path, "not a finite number")
    elif isinstance(value, set | frozenset):
        raise _refused(path, "a set, which JSON doesn't have: pass a list")


def _check_depth(path: str, depth: int) -> None:
    if depth >= MAX_DEPTH:
        raise _refused(path[:80], f"nested deeper than {MAX_DEPTH} levels, or a circle")


def _refused(path: str, why: str) -> PayloadNotSerializable:
    return PayloadNotSerializable(f"the data at {path} is {why}", path=path)


def _plain(value: object) -> object:
    """Encode what msgspec doesn't know: pydantic models, recognised without importing pydantic."""
    dump = getattr(type(value), "model_dump", None)
    if dump is None:
        raise PayloadNotSerializable(
            f"the data holds an object of {type(value).__name__}, which JSON doesn't have: pass text, numbers, lists, "
            "mappings, dataclasses, msgspec Structs or pydantic models"
        )
    dumped: object = dump(value, mode="json", by_alias=True)
    return dumped


_encode: Final = msgspec.json.Encoder(enc_hook=_plain).encode
_decode_head: Final = msgspec.json.Decoder(Head).decode


def _asker(data: object, wire: str, name: str) -> str | None:
    found = (
        data.get(wire, data.get(name)) if type(data) is dict or isinstance(data, Mapping) else getattr(data, name, None)
    )
    return found if isinstance(found, str) and found else None


def _bound(name: str, text: str, limit: int) -> None:
    if not isinstance(text, str) or len(text) > limit:
        size = len(str(text))
        raise PayloadTooLarge(f"{name} must be text of at most {limit} characters, not {size}", size=size, limit=limit)
