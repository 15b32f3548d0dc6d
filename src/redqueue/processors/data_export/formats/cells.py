"""What a source's values become before a format writes them."""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import is_dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import Any, Final, TypeAlias

import msgspec

Cell: TypeAlias = bool | int | float | Decimal | str | datetime | date | time | None
"""Of exactly these classes, all numbers finite, and text that UTF-8 can carry."""

_PLAIN: Final[frozenset[type]] = frozenset({type(None), bool, int, datetime, date, time})
_NUMBERS: Final = (bool, int, float)
_LISTS: Final = frozenset({list, tuple, set, frozenset})
_NO_DECIMAL: Final = _PLAIN | {str, float}
_MOST_ZEROS: Final = 60


def cell(value: object) -> Cell:
    """The value as a cell: NaN and infinities are empty, bytes base64, an enum its value, a list or mapping JSON.

    Of an object that is none of the usual types it is ``str(value)``.
    """
    kind = type(value)
    if kind is str:
        return writable(value)  # type: ignore[arg-type]
    if kind in _PLAIN:
        return value  # type: ignore[return-value]
    if kind is float:
        return value if math.isfinite(value) else None  # type: ignore[arg-type, return-value]
    if kind is Decimal:
        return value if value.is_finite() else None  # type: ignore[attr-defined, return-value]
    return _unusual(value)


def writable(text: str) -> str:
    """The text, with a question mark for half a surrogate pair: no file can hold one."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="replace").decode()
    return text


def digits(value: Decimal) -> str:
    """The number as people write it: with an exponent only where it would begin or end with more than 60 zeros."""
    text = str(value)
    if "E" not in text:
        return text
    if not value:
        exponent = value.as_tuple().exponent
        return format(value, "f") if isinstance(exponent, int) and exponent >= -_MOST_ZEROS else "0"
    return format(value, "f") if -_MOST_ZEROS <= value.adjusted() <= _MOST_ZEROS else text


def moment(value: datetime) -> datetime:
    """Without a zone, for formats that have none: an aware one in UTC, a naive one as it is."""
    return value if value.tzinfo is None else value.astimezone(UTC).replace(tzinfo=None)


def as_json(value: object) -> bytes:
    """One line of JSON, whatever is in it: what JSON can't carry is text, and what is not finite null."""
    try:
        return msgspec.json.encode(_with_digits(value), enc_hook=_carried)
    except (OverflowError, RecursionError, TypeError, ValueError):
        return msgspec.json.encode(_carried_deep(value))


def _unusual(value: object) -> Cell:
    """Subclasses of the usual types, and what no format knows."""
    if isinstance(value, Enum):
        return cell(value.value)
    if isinstance(value, _NUMBERS):
        return cell(float(value) if isinstance(value, float) else int(value))
    if isinstance(value, bytes | bytearray | memoryview):
        return b64encode(value).decode()
    if isinstance(value, Mapping | list | tuple | AbstractSet | msgspec.Struct) or is_dataclass(value):
        return as_json(value).decode()
    if isinstance(value, datetime):
        return datetime.fromisoformat(value.isoformat())
    return writable(str.__str__(str(value)))  # `str` alone may answer another subclass of itself


def _with_digits(value: object) -> object:
    """With each Decimal as text, or as null: msgspec writes "NaN" and "0E-8"."""
    kind = type(value)
    if kind is dict:
        if _NO_DECIMAL.issuperset(map(type, value.values())):  # type: ignore[attr-defined]
            return value
        return {key: _with_digits(each) for key, each in value.items()}  # type: ignore[attr-defined]
    if kind in _LISTS:
        return [_with_digits(each) for each in value]  # type: ignore[attr-defined]
    if isinstance(value, Decimal):
        return digits(value) if value.is_finite() else None
    return value


def _carried(value: object) -> Any:
    """For msgspec: an object that JSON has nothing for."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, memoryview):
        return bytes(value)
    if isinstance(value, str | list | tuple):
        raise TypeError  # as a key of a mapping: JSON has text there
    return list(value) if isinstance(value, Sequence) and not isinstance(value, range) else str(value)


def _carried_deep(value: object, depth: int = 0) -> Any:
    """The slow way, for values with something in them that msgspec refuses."""
    if depth > 64:
        return writable(str(value))
    if isinstance(value, Mapping):
        return {writable(str(key)): _carried_deep(each, depth + 1) for key, each in value.items()}
    if isinstance(value, list | tuple | AbstractSet):
        return [_carried_deep(each, depth + 1) for each in value]
    found = cell(value)
    return found if not isinstance(found, Decimal) else digits(found)
