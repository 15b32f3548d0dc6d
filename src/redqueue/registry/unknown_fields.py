"""Fields that a type does not have, at every depth.

msgspec refuses them by itself in structs that say ``forbid_unknown_fields``. Other structs, dataclasses, attrs classes
and TypedDicts let them pass, so for those the raw value is compared with the type. `check_of` is asked once a type, and
says None when there is nothing to compare.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

from msgspec import inspect

from redqueue.registry.names import quoted

Check: TypeAlias = Callable[[Any], str | None]
"""Says where below the value an unknown field is and which, as ``.contacts[3]: unknown field 'x'``, or None.

A value of another kind than expected is passed over: decoding it says so better.
"""

_Object: TypeAlias = inspect.StructType | inspect.DataclassType | inspect.TypedDictType


def check_of(info: inspect.Type) -> Check | None:
    """The check that this type needs beside decoding, or None."""
    return _check(info, {})


def reachable(info: inspect.Type) -> Iterator[inspect.Type]:
    """The type and all that it is made of, each once; types may refer to themselves."""
    seen: dict[int, inspect.Type] = {}
    ahead = [info]
    while ahead:
        one = ahead.pop()
        if id(one) not in seen:
            seen[id(one)] = one
            ahead.extend(_parts(one))
            yield one


def _parts(info: inspect.Type) -> Sequence[inspect.Type]:
    match info:
        case inspect.StructType() | inspect.DataclassType() | inspect.TypedDictType() | inspect.NamedTupleType():
            return [field.type for field in info.fields]
        case inspect.ListType() | inspect.SetType() | inspect.FrozenSetType() | inspect.VarTupleType():
            return [info.item_type]
        case inspect.TupleType():
            return info.item_types
        case inspect.DictType():
            return [info.key_type, info.value_type]
        case inspect.UnionType():
            return info.types
        case inspect.Metadata():
            return [info.type]
        case _:
            return []


def _lets_pass(info: inspect.Type) -> bool:
    if isinstance(info, inspect.StructType):
        return not info.forbid_unknown_fields
    return isinstance(info, inspect.DataclassType | inspect.TypedDictType)


def _check(info: inspect.Type, made: dict[int, Check]) -> Check | None:
    if not any(_lets_pass(one) for one in reachable(info)):
        return None
    if id(info) in made:
        return made[id(info)]
    match info:
        case inspect.StructType(array_like=True):
            return _array_struct(info, made)
        case inspect.StructType() | inspect.DataclassType() | inspect.TypedDictType():
            return _object(info, made)
        case inspect.ListType() | inspect.SetType() | inspect.FrozenSetType() | inspect.VarTupleType():
            return _each(_check(info.item_type, made))
        case inspect.TupleType():
            return _places([_check(part, made) for part in info.item_types])
        case inspect.NamedTupleType():
            return _places([_check(field.type, made) for field in info.fields])
        case inspect.DictType():
            return _values(_check(info.value_type, made))
        case inspect.UnionType():
            return _any_of([check for part in info.types if (check := _check(part, made))])
        case inspect.Metadata():
            return _check(info.type, made)
        case _:
            return None


def _object(info: _Object, made: dict[int, Check]) -> Check:
    fields: dict[str, Check | None] = {}
    tag_field, tag = (info.tag_field, info.tag) if isinstance(info, inspect.StructType) else (None, None)
    lets_pass = _lets_pass(info)

    def check(value: Any) -> str | None:
        if not isinstance(value, dict) or (tag_field is not None and value.get(tag_field, tag) != tag):
            return None
        for name, item in value.items():
            if name not in fields:
                if lets_pass:
                    return f": unknown field {quoted(name)}"
                continue
            if (inner := fields[name]) is not None and (found := inner(item)):
                return f".{name}{found}"
        return None

    made[id(info)] = check  # before its fields, which may be of this very type
    fields.update({field.encode_name: _check(field.type, made) for field in info.fields})
    if tag_field is not None:
        fields[tag_field] = None
    return check


def _array_struct(info: inspect.StructType, made: dict[int, Check]) -> Check:
    inner: list[Check | None] = []
    tag, most = info.tag, len(info.fields) + (info.tag is not None)
    each = _places(inner)
    lets_pass = _lets_pass(info)

    def check(value: Any) -> str | None:
        if not isinstance(value, list) or (tag is not None and value[:1] != [tag]):
            return None
        if lets_pass and len(value) > most:
            return f": expected at most {most} items"
        return each(value)

    made[id(info)] = check
    inner.extend([None] * (tag is not None))
    inner.extend(_check(field.type, made) for field in info.fields)
    return check


def _each(inner: Check | None) -> Check | None:
    if inner is None:
        return None

    def check(value: Any) -> str | None:
        for place, item in enumerate(value if isinstance(value, list) else ()):
            if found := inner(item):
                return f"[{place}]{found}"
        return None

    return check


def _places(inner: Sequence[Check | None]) -> Check:
    def check(value: Any) -> str | None:
        for place, (item, below) in enumerate(zip(value if isinstance(value, list) else (), inner, strict=False)):
            if below is not None and (found := below(item)):
                return f"[{place}]{found}"
        return None

    return check


def _values(inner: Check | None) -> Check | None:
    if inner is None:
        return None

    def check(value: Any) -> str | None:
        for item in value.values() if isinstance(value, dict) else ():
            if found := inner(item):
                return f"[...]{found}"
        return None

    return check


def _any_of(checks: Sequence[Check]) -> Check:
    # At most one of a union's types is an object without a tag, and one an array: msgspec allows no more.
    def check(value: Any) -> str | None:
        for one in checks:
            if found := one(value):
                return found
        return None

    return check
