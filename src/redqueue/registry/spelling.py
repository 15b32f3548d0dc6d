"""A `JobData`'s fields by their Python names: in a mapping, ``sub_account_id`` is as good as ``subAccountId``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from redqueue.errors import InvalidArguments
from redqueue.registry.names import quoted
from redqueue.shapes import JobData


def either_spelling(name: str, annotation: Any, decode: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """The decoder, for a `JobData` one that also takes its own fields in snake_case; what lies within them stays as is.

    It costs only what the decoder refused, and so what is written in camelCase nothing.
    """
    wire_names = _wire_names(annotation)
    if not wire_names:
        return decode

    def decode_either(raw: bytes) -> Any:
        try:
            return decode(raw)
        except InvalidArguments:
            respelled = _respelled(name, raw, wire_names)
            if respelled is None:
                raise
        return decode(respelled)

    return decode_either


_decode_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def _wire_names(annotation: Any) -> Mapping[str, str]:
    """By Python's name, where the two differ."""
    if not (isinstance(annotation, type) and issubclass(annotation, JobData)):
        return {}
    fields = msgspec.structs.fields(annotation)
    return {field.name: field.encode_name for field in fields if field.name != field.encode_name}


def _respelled(name: str, raw: bytes, wire_names: Mapping[str, str]) -> bytes | None:
    """The same object in camelCase; None when nothing would change."""
    try:
        members = _decode_members(raw)
    except (msgspec.MsgspecError, UnicodeError):
        return None
    if not members.keys() & wire_names.keys():
        return None
    for python, wire in wire_names.items():
        if python in members and wire in members:
            raise InvalidArguments(f"{name}: $: {quoted(wire)} is given twice, also as {quoted(python)}: keep one")
    return msgspec.json.encode({wire_names.get(key, key): value for key, value in members.items()})
